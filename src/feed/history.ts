import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { fetchCommitted, isOutOfRange } from '../kafka/fetch.ts'
import { offsetsOf } from '../kafka/topic-follower.ts'
import { openCluster, type Cluster } from '../kafkajs/cluster.ts'
import type { Position } from './position.ts'
import { createSegments, type Segment } from './segments.ts'
import { feedEvents } from './server-sent.ts'

/** What a client that reads history has in memory. */
export const FETCH_BYTES_MAX = 128 * 1024
const FETCH_WAIT_MS = 100
const SEGMENTS_BYTES_MAX = 8 * 1024 * 1024
/** For each ms of reading, so that history takes a third of the process' time at most. */
const RESTS = 2
/** Waiting for a slow broker costs this process nothing, and needs no rest. */
const REST_MS_MAX = 200
const RETRY_MS = 250

/** A client that reads history. */
export interface HistoryReader {
  /** Where it is. */
  at: Position
  /** The partitions that it has to read. */
  lacks: () => number[]
  /** Called when there may be something to take. */
  wake: () => void
}

export type History = ReturnType<typeof createHistory>

/**
 * Events from before this process followed the topic, and those that it no longer holds. They are read for one client
 * at a time, with rests in between, because decoding records takes CPU: without the rests one client with an old
 * position would hold up the whole process. A part that was read serves every client near the same position.
 * @param onFailure Kafka can't be read; the next attempt follows
 */
export function createHistory (kafka: Kafka, topic: string, onFailure: (error: Error) => void) {
  const segments = createSegments(SEGMENTS_BYTES_MAX)
  /** In the order of their turns. */
  const waiting = new Set<HistoryReader>()
  const gone = new WeakMap<HistoryReader, Error>()
  let opening: Promise<Cluster> | undefined
  let closed = false
  let reading = false

  /**
   * What comes next in one of the partitions; undefined if it has to be read first, and the reader is woken later.
   * @throws OFFSET_OUT_OF_RANGE where retention was faster
   */
  function take (reader: HistoryReader): Segment | undefined {
    const error = gone.get(reader)
    if (error !== undefined) throw error
    for (const partition of reader.lacks()) {
      const segment = segments.find(partition, reader.at[partition] ?? 0)
      if (segment === undefined) continue
      waiting.delete(reader)
      return segment
    }
    waiting.add(reader)
    if (!reading) readInTurns()
    return undefined
  }

  function leave (reader: HistoryReader): void {
    waiting.delete(reader)
  }

  async function readInTurns (): Promise<void> {
    reading = true
    while (waiting.size > 0) {
      const [reader] = waiting as Set<HistoryReader> & [HistoryReader]
      waiting.delete(reader)
      waiting.add(reader) // after the others, if it still waits then
      await delay(await readFor(reader))
    }
    reading = false
  }

  /** @returns ms to rest */
  async function readFor (reader: HistoryReader): Promise<number> {
    const began = performance.now()
    try {
      await use((cluster) => fetchFor(reader, cluster))
      return Math.min(RESTS * (performance.now() - began), REST_MS_MAX)
    } catch (error) {
      if (isOutOfRange(error)) gone.set(reader, error as Error)
      else if (!closed) onFailure(error as Error)
      return RETRY_MS
    } finally {
      for (const each of waiting) each.wake()
    }
  }

  async function fetchFor ({ at, lacks }: HistoryReader, cluster: Cluster): Promise<void> {
    const partitions = lacks()
    const leaders = Object.entries(cluster.findLeaderForPartitions(topic, partitions))
    if (leaders.length === 0) throw new Error(`no leader is known for partition ${partitions[0]} of ${topic}`)
    const ended = await Promise.allSettled(leaders.map(async ([nodeId, led]) => {
      const from = led.map((partition) => ({ partition, offset: at[partition] ?? 0 }))
      const answer = await fetchCommitted({
        cluster, nodeId, topic, from, waitMs: FETCH_WAIT_MS, bytesMax: FETCH_BYTES_MAX
      })
      for (const fetched of answer) {
        const { partition, offset, next } = fetched
        if (next > offset) segments.add({ partition, from: offset, next, events: feedEvents(fetched) })
      }
    }))
    const failures = ended.flatMap((one) => one.status === 'rejected' ? [one.reason] : [])
    if (failures.length > 0) throw failures.find(isOutOfRange) ?? failures[0]
  }

  async function use<T> (read: (cluster: Cluster) => Promise<T>): Promise<T> {
    if (closed) throw new Error('the live feed has stopped reading')
    const mine = opening ??= openCluster(kafka, topic)
    try {
      return await read(await mine)
    } catch (error) {
      // A new cluster looks up the current leaders of the partitions.
      if (opening === mine && !isOutOfRange(error)) disconnect()
      throw error
    }
  }

  /** Where each partition begins by now, and where it ends. */
  async function bounds (): Promise<{ low: Position, high: Position }> {
    return await use(async (cluster) => {
      await cluster.refreshMetadata()
      return {
        low: await offsetsOf(cluster, topic, { fromBeginning: true }),
        high: await offsetsOf(cluster, topic, { fromBeginning: false })
      }
    })
  }

  function close (): void {
    closed = true
    waiting.clear()
    disconnect()
  }

  function disconnect (): void {
    opening?.then((cluster) => cluster.disconnect()).catch(() => {})
    opening = undefined
  }

  return { take, leave, bounds, close }
}
