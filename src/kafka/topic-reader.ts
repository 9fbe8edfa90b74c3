import type { Kafka, KafkaMessage } from 'kafkajs'
import { withAdmin } from './admin.ts'
import { withCluster } from '../kafkajs/cluster.ts'
import { isOrderId, msOf } from '../encoding/order-id.ts'
import { readPartition } from './partition-reader.ts'

/**
 * A low above 0 means that retention has removed what was before it. Reading begins at `start`, which is not before
 * `low`.
 */
export interface PartitionRange { low: number, start: number, high: number }

/** Each has an answer of up to 4 MB in memory. */
const PARTITIONS_AT_ONCE = 8

/**
 * The ranges of a topic's partitions, by their number. `high` also covers transactions that are not committed yet, so
 * whatever was committed before this call is below it.
 * @param sinceMs reading may begin at the first record of this time
 */
export async function topicRanges (kafka: Kafka, topic: string, sinceMs?: number): Promise<PartitionRange[]> {
  return await withAdmin(kafka, "Kafka's answer about the topic", async (admin) => {
    if (!(await admin.listTopics()).includes(topic)) {
      throw new Error(`there is no topic ${topic}: is KAFKA_TOPIC right?`)
    }
    const ranges: PartitionRange[] = []
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
      ranges[partition] = { low: Number(low), start: Number(low), high: Number(high) }
    }
    if (sinceMs !== undefined) {
      for (const { partition, offset } of await admin.fetchTopicOffsetsByTimestamp(topic, Math.max(0, sinceMs))) {
        const range = ranges[partition]!
        range.start = Math.min(Math.max(range.low, Number(offset)), range.high)
      }
    }
    return ranges
  })
}

/**
 * Hands every committed record of the ranges to `onRecord`, each partition in its order; resolves when all are read.
 */
export async function readRanges ({ kafka, topic, ranges, signal, onRecord, onProgress }: {
  kafka: Kafka
  topic: string
  ranges: PartitionRange[]
  signal: AbortSignal
  onRecord: (message: KafkaMessage, partition: number) => void
  onProgress?: (read: number, all: number) => void
}): Promise<void> {
  const all = ranges.reduce((sum, { start, high }) => sum + high - start, 0)
  const waiting = [...ranges.keys()].filter((partition) => ranges[partition]!.start < ranges[partition]!.high)
  if (waiting.length === 0) return
  const left = ranges.map(({ start, high }) => high - start)
  const failed = new AbortController()
  await withCluster(kafka, topic, async (cluster) => {
    const readNext = async (): Promise<void> => {
      for (let partition = waiting.shift(); partition !== undefined; partition = waiting.shift()) {
        const { start, high } = ranges[partition]!
        const index = partition
        await readPartition({
          cluster,
          topic,
          partition: index,
          from: start,
          until: high,
          signal: AbortSignal.any([signal, failed.signal]),
          onRecord: (message) => onRecord(message, index),
          onProgress: (position) => {
            left[index] = Math.max(0, high - position)
            onProgress?.(all - left.reduce((sum, one) => sum + one), all)
          }
        })
      }
    }
    const readers = Array.from({ length: PARTITIONS_AT_ONCE }, readNext)
    try {
      await Promise.all(readers)
    } catch (error) {
      failed.abort()
      await Promise.allSettled(readers)
      throw error
    }
  })
}

/** So many offsets before its end a partition has a record: the rest are the marks of transactions. */
const LAST_OFFSETS = 500

/**
 * The time of the order whose event is the last one before an offset, in ms since 1970; 0 if there is none close to it.
 */
export async function lastOrderMs (kafka: Kafka, topic: string, partition: number, end: number): Promise<number> {
  let ms = 0
  await withCluster(kafka, topic, async (cluster) => {
    await readPartition({
      cluster,
      topic,
      partition,
      from: Math.max(0, end - LAST_OFFSETS),
      until: end,
      onRecord: ({ key }) => {
        if (isOrderId(String(key))) ms = msOf(String(key))
      }
    })
  })
  return ms
}

/**
 * Whether nothing was ever committed to these partitions. A blank partition may end after offset 0, because the records
 * of an aborted transaction take offsets too.
 */
export async function areBlank (kafka: Kafka, topic: string, partitions: number[]): Promise<boolean> {
  const ranges = (await topicRanges(kafka, topic)).map((range, partition) =>
    partitions.includes(partition) ? range : { low: 0, start: range.high, high: range.high })
  if (ranges.some(({ low }) => low > 0)) return false
  const found = new AbortController()
  try {
    await readRanges({ kafka, topic, ranges, signal: found.signal, onRecord: () => found.abort() })
  } catch (error) {
    if (!found.signal.aborted) throw error
  }
  return !found.signal.aborted
}
