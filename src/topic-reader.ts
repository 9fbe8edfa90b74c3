import { randomUUID } from 'node:crypto'
import type { Kafka, KafkaMessage } from 'kafkajs'
import { within } from './deadline.ts'
import { createConsumer } from './kafka-consumer.ts'
import { forgetGroup } from './relay-topics.ts'

/** A low above 0 means that retention has removed what was before it. Reading begins at `start`, which is not before `low`. */
export interface PartitionRange { low: number, start: number, high: number }

/** A transaction that somebody left open holds up all readers until Kafka aborts it, which is after 30 s for our own. */
const IDLE_MS_MAX = 60_000
const ADMIN_MS_MAX = 20_000
const FETCH_WAIT_MS = 100

/**
 * The ranges of a topic's partitions, by their number. `high` also covers transactions that are not committed yet, so whatever
 * was committed before this call is below it.
 * @param sinceMs reading may begin at the first record of this time
 */
export async function topicRanges (kafka: Kafka, topic: string, sinceMs?: number): Promise<PartitionRange[]> {
  const admin = kafka.admin()
  const ask = async (): Promise<PartitionRange[]> => {
    await admin.connect()
    if (!(await admin.listTopics()).includes(topic)) throw new Error(`there is no topic ${topic}: is KAFKA_TOPIC right?`)
    const ranges: PartitionRange[] = []
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) ranges[partition] = { low: Number(low), start: Number(low), high: Number(high) }
    if (sinceMs !== undefined) {
      for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, Math.max(0, sinceMs))) {
        const range = ranges[partition]!
        range.start = Math.min(Math.max(range.low, Number(offset)), range.high)
      }
    }
    return ranges
  }
  try {
    return await within(ADMIN_MS_MAX, 'Kafka\'s answer about the topic', ask())
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Hands every committed record of the ranges to `onRecord`, each partition in its order; resolves when all are read. */
export async function readRanges ({ kafka, topic, ranges, signal, onRecord, onProgress }: {
  kafka: Kafka
  topic: string
  ranges: PartitionRange[]
  signal: AbortSignal
  onRecord: (message: KafkaMessage, partition: number) => void
  onProgress?: (read: number, all: number) => void
}): Promise<void> {
  const all = ranges.reduce((sum, { start, high }) => sum + high - start, 0)
  const positions = ranges.map(({ start }) => start)
  const left = (): number => ranges.reduce((sum, { high }, partition) => sum + Math.max(0, high - positions[partition]!), 0)
  if (left() === 0) return

  const groupId = `${topic}.reader.${randomUUID()}`
  const { consumer, end } = createConsumer(kafka, { groupId, maxWaitTimeInMs: FETCH_WAIT_MS })
  let idle: NodeJS.Timeout | undefined
  let told: (() => void) | undefined
  try {
    await within(ADMIN_MS_MAX, 'Kafka', consumer.connect())
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      const moved = (): void => {
        clearTimeout(idle)
        idle = setTimeout(() => reject(new Error(`the topic ${topic} could not be read to its end: nothing came for ${IDLE_MS_MAX / 1000} s`)), IDLE_MS_MAX)
      }
      moved()
      const stop = (): void => reject(new Error('it was told to end'))
      if (signal.aborted) return stop()
      signal.addEventListener('abort', stop, { once: true })
      told = () => signal.removeEventListener('abort', stop)
      consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
        // A coordinator that has just started is still loading its groups; kafkajs then begins again by itself, from the first record.
        if (!(restart && typeOf(error) === 'GROUP_LOAD_IN_PROGRESS')) reject(error)
      })
      // It also comes for a batch that holds nothing but aborted records and the marks of transactions, so it tells the end.
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
        positions[partition] = Math.max(positions[partition]!, Number(lastOffset) + 1)
        moved()
        onProgress?.(all - left(), all)
        if (left() === 0) resolve()
      })
      consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          const { high } = ranges[batch.partition]!
          for (const message of batch.messages) {
            // After a rebalance a batch can come again.
            if (Number(message.offset) >= positions[batch.partition]! && Number(message.offset) < high) onRecord(message, batch.partition)
          }
        }
      }).catch(reject)
      for (const [partition, { low, start }] of ranges.entries()) {
        if (start > low) consumer.seek({ topic, partition, offset: String(start) })
      }
    })
  } finally {
    clearTimeout(idle)
    told?.()
    await within(ADMIN_MS_MAX, 'the end of the reader', end()).catch(() => {})
    forgetGroup(kafka, groupId) // nobody waits for it
  }
}

/** Kafka's name for what kafkajs gave up for. */
function typeOf (error: Error): string | undefined {
  return (error.cause as { type?: string } | undefined)?.type
}
