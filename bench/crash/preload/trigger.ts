/**
 * Loaded into each service of the campaign, before it (`node --import`). On SIGUSR2 the process dies between the sending and the
 * commit of its next Kafka transaction, on SIGWINCH it hangs there until somebody sends SIGCONT.
 */
import { Kafka } from 'kafkajs'

let next: 'SIGKILL' | 'SIGSTOP' | undefined
process.on('SIGUSR2', () => { next = 'SIGKILL' })
process.on('SIGWINCH', () => { next = 'SIGSTOP' })

const producer = Kafka.prototype.producer
Kafka.prototype.producer = function (config) {
  const made = producer.call(this, config)
  return {
    ...made,
    async transaction () {
      const transaction = await made.transaction()
      return {
        ...transaction,
        async commit () {
          if (next !== undefined) {
            const signal = next
            next = undefined
            process.kill(process.pid, signal)
          }
          await transaction.commit()
        }
      }
    }
  }
}
