import { randomUUID } from 'node:crypto'
import type { Kafka, Message } from 'kafkajs'
import type { ClusterTime } from '../../mongo/change-event.ts'
import type { ResumeToken } from '../../mongo/change-stream.ts'
import { withCluster } from '../../kafkajs/cluster.ts'
import { readPartition } from '../../kafka/partition-reader.ts'
import type { TopicIdentity } from './topic-identity.ts'

/*
 * How far the relay is, as a compacted topic of one partition holds it: written in the transaction of the events that
 * it follows.
 */

export interface Checkpoint {
  /** Where the change stream goes on; without it, it starts at `operationTime`. */
  token?: ResumeToken
  /** A time of the cluster: whatever was inserted before it is published. */
  operationTime?: ClusterTime
  /** The newest order that was published. */
  orderId?: string
  at: string
  /** One more with each checkpoint: of two copies it shows which is later. */
  seq?: number
  /** The holder of the lease that wrote it. */
  owner?: string
  topic?: TopicIdentity
  /** MongoDB's own id of the collection of orders: another one holds orders that were put there by somebody else. */
  collection?: string
  /** What was deleted not long ago: inserted again, it must not be published again. */
  removed?: Removed
  /**
   * A reconciliation that began at `since`, with the topic of `topicSince`, has sent some of what was missing: the
   * stream must not go on before it has ended. Orders younger than `notBefore` were not published when it began. All in
   * ms since 1970.
   */
  reconciling?: { since: number, topicSince: number, notBefore: number }
}

export interface Removed {
  /** Orders that were deleted. */
  ids: string[]
  /**
   * The collection was dropped, or too much was deleted to be named: any order from before this time may be gone.
   * Seconds since 1970.
   */
  before?: number
}

export interface RelayNames { checkpointTopic: string, checkpointKey: string, transactionalId: string }

/**
 * Derived from topic, database and source, so that deployments which share a Kafka cluster neither fence each other nor
 * read each other's checkpoints, also where two MongoDBs have databases of one name.
 * @param source names the orders of one MongoDB, see plugins/relay.ts
 */
export function relayNames (topic: string, database: string, source: string): RelayNames {
  return {
    checkpointTopic: checkpointTopicOf(topic),
    checkpointKey: `${database} ${source}`,
    transactionalId: `${topic}.relay.${database}.${source}`
  }
}

export function checkpointTopicOf (topic: string): string {
  return `${topic}.checkpoints`
}

export function checkpointMessage ({ checkpointKey }: RelayNames, checkpoint: Checkpoint): Message {
  return { key: checkpointKey, value: JSON.stringify(checkpoint) }
}

/**
 * Which of a checkpoint and its copy in MongoDB knows more of the topic. A checkpoint is written together with its
 * events, before anybody can know where they are on the topic; a copy of the same one says that too.
 */
export function laterOf (found: Checkpoint | undefined, copy: Checkpoint | undefined): Checkpoint | undefined {
  if (found === undefined) return copy
  return copy?.seq !== undefined && copy.seq >= (found.seq ?? 0) ? copy : found
}

/** A record that ends whatever was written before. Its own key keeps compaction from mixing it up with a checkpoint. */
export function fenceMarker ({ checkpointKey }: RelayNames): Message {
  return { key: `${checkpointKey} fence`, value: randomUUID() }
}

/** Most recent records first: the checkpoint is among the last few, unless many deployments share the topic. */
const WINDOWS = [200, 20_000, Infinity]
const IDLE_MS_MAX = 60_000

/**
 * The last committed value of a key, or of several keys, before an offset: of as few records as will do, or of all of
 * them.
 * @param until an offset up to which all transactions have ended, or will soon
 */
export async function readLatest (
  kafka: Kafka,
  { checkpointTopic: topic }: RelayNames,
  until: number,
  keys: string[]
): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  await withCluster(kafka, topic, async (cluster) => {
    for (const window of WINDOWS) {
      const from = Math.max(0, until - window)
      found.clear()
      await readPartition({
        cluster,
        topic,
        partition: 0,
        from,
        until,
        idleMsMax: IDLE_MS_MAX,
        onRecord: ({ key, value }) => {
          const name = String(key)
          if (!keys.includes(name)) return
          if (value === null) found.delete(name)
          else found.set(name, String(value))
        }
      })
      if (from === 0 || keys.some((key) => found.has(key))) return
    }
  })
  return found
}

/** @param until as in `readLatest` */
export async function readCheckpoint (kafka: Kafka, names: RelayNames, until: number): Promise<Checkpoint | undefined> {
  const value = (await readLatest(kafka, names, until, [names.checkpointKey])).get(names.checkpointKey)
  return value === undefined ? undefined : JSON.parse(value)
}
