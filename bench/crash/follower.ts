import { randomUUID } from 'node:crypto'
import { createKafka } from '../../src/kafka-client.ts'
import { startOrderEventsConsumer } from '../../src/kafka.ts'
import { atEnd } from '../prove/parts.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }

export type Follower = Awaited<ReturnType<typeof followTopic>>

/** Reads the topic as it grows. It only serves the times of recovery. */
export async function followTopic (brokers: string) {
  const kafka = createKafka({ brokers: [brokers], clientId: 'crash', log })
  /** When each order's first event was here. */
  const seenAt = new Map<string, number>()
  let consumer = await start()
  atEnd(() => consumer.stop())

  async function start () {
    return await startOrderEventsConsumer({
      kafka,
      groupId: `crash-${randomUUID()}`,
      onBatch: async (batch) => {
        const now = performance.now()
        for (const { event: { orderId } } of batch) if (!seenAt.has(orderId)) seenAt.set(orderId, now)
      },
      onInvalid: async () => {}
    })
  }

  return {
    seenAt,
    /** Reads from the beginning in a new group: the old one would first wait 30 s for the member that it lost with its broker. */
    async renew (): Promise<void> {
      consumer.stop().catch(() => {})
      consumer = await start()
    }
  }
}
