import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { fetchCommitted, type Fetched } from '../kafka/fetch.ts'
import { offsetsOf } from '../kafka/topic-follower.ts'
import { openCluster, type Cluster } from '../kafkajs/cluster.ts'
import type { Position } from './position.ts'

/** What a client that reads history has in memory. */
const FETCH_BYTES_MAX = 256 * 1024
const FETCH_WAIT_MS = 100
/** For each ms of reading, so that history takes a third of the process' time at most. */
const RESTS = 2

export type History = ReturnType<typeof createHistory>

/**
 * What the topic has from before this process began to follow it.
 * Its connections are shared by all who read there, one after the other with rests between, as to decode records takes
 * as long as to read them: otherwise one client with an old place would hold up the whole process.
 */
export function createHistory (kafka: Kafka, topic: string) {
  let opening: Promise<Cluster> | undefined
  let closed = false
  let turn: Promise<unknown> = Promise.resolve()

  async function inTurn<T> (read: (cluster: Cluster) => Promise<T>): Promise<T> {
    let restMs = 0
    const mine = turn.then(async () => {
      const began = performance.now()
      return await use(read).finally(() => { restMs = RESTS * (performance.now() - began) })
    })
    turn = mine.catch(() => {}).then(() => delay(restMs))
    return await mine
  }

  async function use<T> (read: (cluster: Cluster) => Promise<T>): Promise<T> {
    if (closed) throw new Error('the live feed has stopped reading')
    opening ??= openCluster(kafka).then(async (cluster) => {
      await cluster.addTargetTopic(topic)
      return cluster
    })
    const mine = opening
    try {
      return await read(await mine)
    } catch (error) {
      // A new cluster looks up the current leaders of the partitions.
      if (opening === mine) disconnect()
      throw error
    }
  }

  function close (): void {
    closed = true
    disconnect()
  }

  function disconnect (): void {
    opening?.then((cluster) => cluster.disconnect()).catch(() => {})
    opening = undefined
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

  /**
   * What was committed between two places, as fast as it is taken; of each partition a part in turn.
   * @throws what Kafka refuses
   */
  async function * between (from: Position, until: Position): AsyncGenerator<Fetched> {
    const at = [...from]
    for (;;) {
      const behind = [...until.keys()].filter((partition) => (at[partition] ?? 0) < until[partition]!)
      if (behind.length === 0) return
      const leaders = await use(async (cluster) => leadersOf(cluster, behind))
      for (const [nodeId, partitions] of Object.entries(leaders)) {
        const answers = await inTurn((cluster) => fetchCommitted({
          cluster,
          nodeId,
          topic,
          from: partitions.map((partition) => ({ partition, offset: at[partition] ?? 0 })),
          waitMs: FETCH_WAIT_MS,
          bytesMax: FETCH_BYTES_MAX
        }))
        for (const { partition, records, next } of answers) {
          const end = until[partition]!
          at[partition] = Math.min(next, end)
          yield { partition, next: at[partition], records: records.filter(({ offset }) => Number(offset) < end) }
        }
      }
    }
  }

  function leadersOf (cluster: Cluster, partitions: number[]): Record<string, number[]> {
    const leaders = cluster.findLeaderForPartitions(topic, partitions)
    if (Object.keys(leaders).length === 0) throw new Error(`no leader is known for partition ${partitions[0]} of ${topic}`)
    return leaders
  }

  return { bounds, between, close }
}
