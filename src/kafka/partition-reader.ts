import { setTimeout as delay } from 'node:timers/promises'
import type { KafkaMessage } from 'kafkajs'
import type { Cluster } from '../kafkajs/cluster.ts'
import { fetchCommitted, isOutOfRange } from './fetch.ts'

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
      position = await recovered(error as Error & { retriable?: boolean }, position)
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
    const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
    if (nodeId === undefined) {
      throw Object.assign(new Error(`partition ${partition} of ${topic} has no leader`), { retriable: true })
    }
    const request = { cluster, nodeId, topic, from: [{ partition, offset }] }
    const [fetched] = await fetchCommitted({ ...request, waitMs: FETCH_WAIT_MS, bytesMax: FETCH_BYTES_MAX })
    for (const record of fetched?.records ?? []) if (Number(record.offset) < until) onRecord(record)
    return fetched?.next ?? offset
  }

  async function recovered (error: Error & { retriable?: boolean }, offset: number): Promise<number> {
    if (isOutOfRange(error)) {
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
