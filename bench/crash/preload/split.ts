/** What two lies share: events and checkpoint are committed one after the other, each in a transaction of its own. */
import { setTimeout as delay } from 'node:timers/promises'
import { wrapTransactions } from './transactions.ts'

/** In which a fault finds the one done and the other not. */
const BETWEEN_MS = 150

export function splitTransactions (first: 'events' | 'checkpoint'): void {
  wrapTransactions((transaction, begin) => {
    let current = transaction
    return {
      async sendBatch ({ topicMessages = [], ...batch }) {
        const isFirst = ({ topic }: { topic: string }): boolean =>
          topic.endsWith('.checkpoints') === (first === 'checkpoint')
        const [one, two] = [topicMessages.filter(isFirst), topicMessages.filter((messages) => !isFirst(messages))]
        if (one.length === 0 || two.length === 0) return await current.sendBatch({ ...batch, topicMessages })
        const answers = await current.sendBatch({ ...batch, topicMessages: one })
        await current.commit()
        await delay(BETWEEN_MS)
        current = await begin()
        return [...answers, ...await current.sendBatch({ ...batch, topicMessages: two })]
      },
      commit: () => current.commit(),
      abort: () => current.abort(),
      isActive: () => current.isActive()
    }
  })
}
