import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createKafka } from '../../src/kafka/client.ts'
import { startOrderEventsConsumer, type OrderEventsConsumerOptions } from '../../src/kafka.ts'
import { eventually } from '../rig/service.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }
/** In which a record too many would have come: a transaction of the relay takes some 30 ms. */
const SUBSCRIBE_TRIES = 10
const QUIET_MS = 2_000
/** Far below what a busy core reads and checks. */
const RECORDS_PER_MS_MIN = 5

export interface TopicContent {
  /** Payloads as JSON: no more of an event is kept, as there may be a million. */
  records: { orderId: string, payload: string }[]
  /** Why each record that is no valid event isn't one. */
  invalid: string[]
  /** Partitions whose committed position is the end of what is committed there. */
  complete: boolean
}

/**
 * The first group of a cluster waits for the topic of groups to be made, on a busy machine for longer than kafkajs
 * does.
 */
async function subscribe (options: OrderEventsConsumerOptions): ReturnType<typeof startOrderEventsConsumer> {
  for (let tries = 1; ; tries++) {
    try {
      return await startOrderEventsConsumer(options)
    } catch (error) {
      if ((error as Error).name !== 'KafkaJSGroupCoordinatorNotFound' || tries === SUBSCRIBE_TRIES) throw error
      await delay(QUIET_MS)
    }
  }
}

/** Reads the topic, as a subscriber would, until it holds `expected` events and nothing follows them. */
export async function readTopic (
  brokers: string,
  expected: number,
  msMax = 60_000 + expected / RECORDS_PER_MS_MIN,
  topic = 'order-events'
): Promise<TopicContent> {
  const kafka = createKafka({ brokers: brokers.split(','), clientId: 'prove', log })
  const records: TopicContent['records'] = []
  const invalid: string[] = []
  const groupId = `prove-${randomUUID()}`
  const consumer = await subscribe({
    kafka,
    groupId,
    topic,
    onBatch: async (batch) => {
      for (const { event } of batch) records.push({ orderId: event.orderId, payload: JSON.stringify(event.payload) })
    },
    onInvalid: async (_message, _partition, reason) => {
      invalid.push(reason)
    }
  })
  const admin = kafka.admin()
  await admin.connect()

  /** For each partition the end of what is committed, and how far this reader is. */
  async function positions (): Promise<{ end: number, read: number }[]> {
    const ends = await admin.fetchTopicOffsets(topic)
    const [group] = await admin.fetchOffsets({ groupId, topics: [topic] })
    return ends.map(({ partition, high }) => ({
      end: Number(high),
      read: Math.max(0, Number(group!.partitions.find((candidate) => candidate.partition === partition)?.offset ?? 0))
    }))
  }

  /** @returns whether the reader stands at the end, and neither has moved for a while */
  async function settled (): Promise<boolean> {
    const before = { count: records.length, ends: JSON.stringify((await positions()).map(({ end }) => end)) }
    await delay(QUIET_MS)
    const after = await positions()
    if (records.length !== before.count || JSON.stringify(after.map(({ end }) => end)) !== before.ends) return false
    return after.every(({ end, read }) => read >= end)
  }

  try {
    await eventually('all events on the topic', msMax, () => records.length + invalid.length >= expected).catch(
      () => {}
    )
    const complete = await eventually('the end of the topic', 20_000, settled).then(
      () => true,
      () => false
    )
    return { records, invalid, complete }
  } finally {
    await admin.disconnect()
    await consumer.stop()
  }
}
