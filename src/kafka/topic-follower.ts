import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { withCluster, type Cluster } from '../kafkajs/cluster.ts'
import { fetchCommitted, isOutOfRange, type Fetched } from './fetch.ts'

/** For which a broker waits until there is something to read. */
const FETCH_WAIT_MS = 500
const FETCH_BYTES_MAX = 1024 * 1024
const METADATA_MS = 30_000
const RETRY_MS = 250

export interface FollowOptions {
  kafka: Kafka
  topic: string
  signal: AbortSignal
  /** The offsets of all partitions at which it begins: what is committed from now on comes. */
  onStart: (offsets: number[]) => void
  /**
   * What one answer brought of each partition; also without records, as the marks of transactions take offsets too. Its
   * broker is asked again after it.
   */
  onFetched: (answer: Fetched[]) => Promise<void>
  /** All brokers have answered. */
  onRound: () => void
  /** Kafka can't be read; it is tried again, from where it was. */
  onFailure: (error: Error) => void
  /** ms after which it is looked for partitions that were added. */
  metadataMs?: number | undefined
}

/**
 * Reads what comes to a topic from the leaders of its partitions, until `signal` aborts. It needs no consumer group:
 * whoever asks Kafka for one waits 3 s until it begins.
 * @throws OFFSET_OUT_OF_RANGE where retention was faster, or the topic was made anew
 */
export async function followTopic ({
  kafka, topic, signal, onStart, onFetched, onRound, onFailure, metadataMs = METADATA_MS
}: FollowOptions): Promise<void> {
  let offsets: number[] | undefined
  while (!signal.aborted) {
    try {
      await withCluster(kafka, topic, follow, { committed: true })
    } catch (error) {
      if (signal.aborted) return
      if (isOutOfRange(error)) throw error
      onFailure(error as Error)
      await delay(RETRY_MS, undefined, { signal }).catch(() => {})
    }
  }

  async function follow (cluster: Cluster): Promise<void> {
    while (!signal.aborted) {
      const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId)
      if (offsets === undefined) {
        offsets = await offsetsOf(cluster, topic, { fromBeginning: false })
        onStart([...offsets])
      }
      for (const partition of partitions) offsets[partition] ??= 0 // one that was added since
      const leaders = Object.entries(cluster.findLeaderForPartitions(topic, partitions))
      const round = { until: performance.now() + metadataMs, silent: new Set(leaders.map(([nodeId]) => nodeId)) }
      // Each for itself, as one that waits for something must not hold up the others.
      const ended = await Promise.allSettled(
        leaders.map(([nodeId, led]) => readFrom(cluster, nodeId, led, offsets!, round))
      )
      const failed = ended.find((one) => one.status === 'rejected')
      if (failed !== undefined) throw failed.reason
      await cluster.refreshMetadata()
    }
  }

  async function readFrom (
    cluster: Cluster,
    nodeId: string,
    partitions: number[],
    offsets: number[],
    round: { until: number, silent: Set<string> }
  ): Promise<void> {
    try {
      while (!signal.aborted && performance.now() < round.until) {
        const from = partitions.map((partition) => ({ partition, offset: offsets[partition]! }))
        const request = { cluster, nodeId, topic, from, waitMs: FETCH_WAIT_MS, bytesMax: FETCH_BYTES_MAX }
        const answer = (await fetchCommitted(request)).filter(({ partition, next }) => next !== offsets[partition])
        for (const { partition, next } of answer) offsets[partition] = next
        if (round.silent.delete(nodeId) && round.silent.size === 0) onRound()
        if (answer.length > 0) await onFetched(answer)
        // A broker fills its answer in the order in which it is asked.
        partitions.push(partitions.shift()!)
      }
    } catch (error) {
      round.until = 0
      throw error
    }
  }
}

/** The first offset of each partition of a topic, or the one after the last. */
export async function offsetsOf (
  cluster: Cluster,
  topic: string,
  { fromBeginning }: { fromBeginning: boolean }
): Promise<number[]> {
  const partitions = cluster.findTopicPartitionMetadata(topic).map(({ partitionId: partition }) => ({ partition }))
  const [answer] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning }])
  const offsets: number[] = []
  for (const { partition, offset } of answer?.partitions ?? []) offsets[partition] = Number(offset)
  if (offsets.length < partitions.length || partitions.length === 0) throw new Error(`${topic} has partitions without a leader`)
  return offsets
}
