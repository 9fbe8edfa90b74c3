import { randomUUID } from 'node:crypto'
import { createKafka } from '../../src/kafka-client.ts'
import { startOrderEventsConsumer } from '../../src/kafka.ts'
import { atEnd } from '../prove/parts.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }

/** Reads the topic as it grows. @returns when each order's first event was there; it only serves the times of recovery */
export async function followTopic (brokers: string): Promise<Map<string, number>> {
  const seenAt = new Map<string, number>()
  const consumer = await startOrderEventsConsumer({
    kafka: createKafka({ brokers: [brokers], clientId: 'crash', log }),
    groupId: `crash-${randomUUID()}`,
    onBatch: async (batch) => {
      const now = performance.now()
      for (const { event: { orderId } } of batch) if (!seenAt.has(orderId)) seenAt.set(orderId, now)
    },
    onInvalid: async () => {}
  })
  atEnd(() => consumer.stop())
  return seenAt
}
