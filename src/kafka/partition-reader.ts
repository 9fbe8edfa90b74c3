import { setTimeout as delay } from 'node:timers/promises'
import type { KafkaMessage } from 'kafkajs'
import '../kafkajs/aborted-records.ts'
import type { Cluster } from '../kafkajs/cluster.ts'

const READ_COMMITTED = 1
const FETCH_BYTES_MAX = 4 * 1024 * 1024
/** How long the leader may wait for something to be committed. */
const FETCH_WAIT_MS = 100
const RETRY_MS = 50
/** A transaction that was left open holds up all readers until Kafka aborts it: our own after two minutes at most. */
export const IDLE_MS_MAX = 150_000

export interface PartitionPart {
  cluster: Cluster
  topic: string
  partition: number
  /** The first offset that is read. */
  from: number
  /** The first one that isn't. */
  until: number
  signal?: AbortSignal | undefined
  /** Takes each committed record, in the order of their offsets. */
  onRecord: (message: KafkaMessage) => void
  /** Told how far it is, also where nothing committed was found. */
  onProgress?: (position: number) => void
  /** How long it goes on without getting any further. */
  idleMsMax?: number
}

/**
 * Reads a part of a partition from its leader at that time.
 * @throws what Kafka refuses for good; after `idleMsMax` without progress; what `signal` was aborted with
 */
export async function readPartition ({
  cluster,
  topic,
  partition,
  from,
  until,
  signal,
  onRecord,
  onProgress,
  idleMsMax = IDLE_MS_MAX
}: PartitionPart): Promise<void> {
  let position = from
  let movedAt = performance.now()
  while (position < until) {
    signal?.throwIfAborted()
    const before = position
    try {
      position = await fetchFrom(position)
    } catch (error) {
      position = await recovered(error as Error & { type?: string, retriable?: boolean }, position)
    }
    if (position > before) {
      movedAt = performance.now()
      onProgress?.(position)
    } else if (performance.now() - movedAt > idleMsMax) {
      throw new Error(
        `partition ${partition} of ${topic} can't be read beyond offset ${position} (it ends at ${until}): a transaction that was left open may hold it up, which kafka-transactions.sh find-hanging names`
      )
    }
  }

  async function fetchFrom (offset: number): Promise<number> {
    const [leader] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
    if (leader === undefined) {
      throw Object.assign(new Error(`partition ${partition} of ${topic} has no leader`), { retriable: true })
    }
    const broker = await cluster.findBroker({ nodeId: leader })
    const { responses } = await broker.fetch({
      isolationLevel: READ_COMMITTED,
      maxWaitTime: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_BYTES_MAX,
      topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: FETCH_BYTES_MAX }] }]
    })
    let next = offset
    for (const record of responses[0]?.partitions[0]?.messages ?? []) {
      const at = Number(record.offset)
      // A batch comes whole, from before the offset that was asked for to beyond the end.
      if (at >= offset && at < until && !record.isControlRecord) onRecord(record as unknown as KafkaMessage)
      next = Math.max(next, at + 1, batchEnd(record.batchContext))
    }
    return next
  }

  async function recovered (error: Error & { type?: string, retriable?: boolean }, offset: number): Promise<number> {
    if (error.type === 'OFFSET_OUT_OF_RANGE') {
      // retention has removed it meanwhile
      const [answer] = await cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], fromBeginning: true }])
      const low = Number(answer!.partitions[0]!.offset)
      if (low > offset) return low
    } else if (error.retriable === true || error.name === 'KafkaJSConnectionClosedError') {
      await delay(RETRY_MS, undefined, { signal })
      await cluster.refreshMetadata()
      return offset
    }
    throw error
  }
}

/** Compaction leaves a batch its last offset though it may have removed the record there. */
function batchEnd (batch: { firstOffset?: string, lastOffsetDelta?: number } | undefined): number {
  return batch?.firstOffset === undefined ? 0 : Number(batch.firstOffset) + (batch.lastOffsetDelta ?? 0) + 1
}
