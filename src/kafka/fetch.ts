import type { KafkaMessage } from 'kafkajs'
import '../kafkajs/aborted-records.ts'
import { READ_COMMITTED, type Cluster } from '../kafkajs/cluster.ts'

/** What one answer brought of a partition. */
export interface Fetched {
  partition: number
  /** The one that was asked for. */
  offset: number
  /** Committed ones, in the order of their offsets. */
  records: KafkaMessage[]
  /** The offset that comes after all that the answer has: the next one to ask for. */
  next: number
}

export interface FetchRequest {
  cluster: Cluster
  /** Of the broker that leads all the partitions. */
  nodeId: string
  topic: string
  from: { partition: number, offset: number }[]
  /** ms for which the broker may wait until there is something. */
  waitMs: number
  /** Of an answer, and of each partition in it; but one batch of records comes whole. */
  bytesMax: number
}

/**
 * Asks a broker once for what follows an offset in each partition.
 * @throws what Kafka refuses, for all if it is so for one of them
 */
export async function fetchCommitted ({
  cluster, nodeId, topic, from, waitMs, bytesMax
}: FetchRequest): Promise<Fetched[]> {
  const broker = await cluster.findBroker({ nodeId })
  const { responses } = await broker.fetch({
    isolationLevel: READ_COMMITTED,
    maxWaitTime: waitMs,
    minBytes: 1,
    maxBytes: bytesMax,
    topics: [{
      topic,
      partitions: from.map(({ partition, offset }) => ({
        partition, fetchOffset: String(offset), maxBytes: bytesMax
      }))
    }]
  })
  const offsets = new Map(from.map(({ partition, offset }) => [partition, offset]))
  return (responses[0]?.partitions ?? []).map(({ partition, messages }) => {
    const offset = offsets.get(partition)!
    const records: KafkaMessage[] = []
    let next = offset
    for (const record of messages) {
      const at = Number(record.offset)
      // A batch comes whole, from before the offset that was asked for.
      if (at >= offset && !record.isControlRecord) records.push(record as unknown as KafkaMessage)
      next = Math.max(next, at + 1, batchEnd(record.batchContext))
    }
    return { partition, offset, records, next }
  })
}

/** Compaction leaves a batch its last offset though it may have removed the record there. */
function batchEnd (batch: { firstOffset?: string, lastOffsetDelta?: number } | undefined): number {
  return batch?.firstOffset === undefined ? 0 : Number(batch.firstOffset) + (batch.lastOffsetDelta ?? 0) + 1
}

/** The place that was asked for is not on the partition: retention has removed it, or the topic was made anew. */
export function isOutOfRange (error: unknown): boolean {
  return (error as { type?: string }).type === 'OFFSET_OUT_OF_RANGE'
}
