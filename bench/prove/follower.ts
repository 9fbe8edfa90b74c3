import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createKafka } from '../../src/kafka-client.ts'
import { startOrderEventsConsumer } from '../../src/kafka.ts'
import { atEnd } from './parts.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }

const TOPIC = 'order-events'
const RENEWAL_MS_MAX = 60_000
const RETRY_MS = 500

export type Follower = Awaited<ReturnType<typeof followTopic>>

/** Reads the topic as it grows. It only serves the times of recovery. */
export async function followTopic (brokers: string) {
  const kafka = createKafka({ brokers: [brokers], clientId: 'bench', log })
  /** When each order's first event was here. */
  const seenAt = new Map<string, number>()
  /** The offset after the last record of each partition that was here. */
  const positions = new Map<number, string>()
  let consumer = await start()
  atEnd(() => consumer.stop())

  async function start () {
    const groupId = `follower-${randomUUID()}`
    if (positions.size > 0) await goOn(groupId)
    return await startOrderEventsConsumer({
      kafka,
      groupId,
      topic: TOPIC,
      onBatch: async (batch) => {
        const now = performance.now()
        for (const { event: { orderId }, partition, offset } of batch) {
          if (!seenAt.has(orderId)) seenAt.set(orderId, now)
          positions.set(partition, String(BigInt(offset) + 1n))
        }
      },
      onInvalid: async () => {},
      onCrash: () => {} // recovery then never shows, which the campaign reports
    })
  }

  async function goOn (groupId: string): Promise<void> {
    const admin = kafka.admin()
    await admin.connect()
    await admin.setOffsets({ groupId, topic: TOPIC, partitions: [...positions].map(([partition, offset]) => ({ partition, offset })) })
    await admin.disconnect()
  }

  return {
    seenAt,
    /** Reads on in a new group: the old one would first wait 30 s for the member that it lost with its broker. */
    async renew (): Promise<void> {
      consumer.stop().catch(() => {})
      // A broker that has just been killed may refuse a new group for some time.
      for (const end = performance.now() + RENEWAL_MS_MAX; ; await delay(RETRY_MS)) {
        try {
          consumer = await start()
          return
        } catch (error) {
          if (performance.now() > end) throw error
        }
      }
    }
  }
}
