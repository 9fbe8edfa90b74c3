import { Kafka, type Transaction } from 'kafkajs'

/** Puts something between the service and its Kafka transactions. `begin` makes another one of the same producer. */
export function wrapTransactions (
  wrap: (transaction: Transaction, begin: () => Promise<Transaction>) => Partial<Transaction>
): void {
  const producer = Kafka.prototype.producer
  Kafka.prototype.producer = function (config) {
    const made = producer.call(this, config)
    return {
      ...made,
      async transaction () {
        const transaction = await made.transaction()
        return { ...transaction, ...wrap(transaction, () => made.transaction()) }
      }
    }
  }
}
