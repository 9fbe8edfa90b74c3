/** A lie for the checker: now and then what is sent to one partition is sent to it again, in the same transaction. */
import { wrapTransactions } from './transactions.ts'

const ONE_IN = 20

let transactions = 0

wrapTransactions((transaction) => ({
  async sendBatch (batch) {
    const answers = await transaction.sendBatch(batch)
    const events = batch.topicMessages?.find(({ topic }) => !topic.endsWith('.checkpoints'))
    if (events === undefined || ++transactions % ONE_IN !== 0) return answers
    const { partition } = events.messages[0]!
    const again = {
      topic: events.topic,
      messages: events.messages.filter((message) => message.partition === partition)
    }
    await transaction.sendBatch({ ...batch, topicMessages: [again] })
    return answers
  }
}))
