import type { ITopicConfig, Kafka, Message } from 'kafkajs'
import { randomUUID } from 'node:crypto'
import { within } from './deadline.ts'
import type { ResumeToken } from './change-stream.ts'
import type { TopicIdentity } from './topic-identity.ts'

/*
 * The relay's side of Kafka: the topic of the events and a compacted topic of one partition with the checkpoints. A checkpoint
 * is the resume token that follows the last events of a transaction, written in that transaction.
 */

export interface TopicSettings { topic: string, partitions: number, replicationFactor: number }

export interface RelayNames { checkpointTopic: string, checkpointKey: string, transactionalId: string }

/** Derived from topic and database, so that deployments which share a Kafka cluster neither fence each other nor read each other's checkpoints. */
export function relayNames (topic: string, database: string): RelayNames {
  return { checkpointTopic: `${topic}.checkpoints`, checkpointKey: database, transactionalId: `${topic}.relay.${database}` }
}

/** How far the relay is. The lease carries a copy, written lazily, for others to see and for when the topic is lost. */
export interface Checkpoint {
  /** Where the change stream goes on. Behind a reconciliation there is no token yet, but a time of the cluster. */
  token?: ResumeToken
  operationTime?: { t: number, i: number }
  /** The newest order that was published. */
  orderId?: string
  at: string
  topic?: TopicIdentity
  /**
   * A reconciliation that began at `since`, with the topic of `topicSince`, has sent some of what was missing: the stream must
   * not go on before it has ended. Orders younger than `notBefore` were not published when it began. All in ms since 1970.
   */
  reconciling?: { since: number, topicSince: number, notBefore: number }
}

export function checkpointMessage ({ checkpointKey }: RelayNames, checkpoint: Checkpoint): Message {
  return { key: checkpointKey, value: JSON.stringify(checkpoint) }
}

/** A record that says "everything before me is all there is". Its own key keeps compaction from mixing it up with a checkpoint. */
export function fenceMarker ({ checkpointKey }: RelayNames): Message {
  return { key: `${checkpointKey} fence`, value: randomUUID() }
}

const ADMIN_MS_MAX = 20_000

/** Creates what is missing: the topic and, with `names`, the relay's own. @returns the number of partitions of the event topic */
export async function prepareTopics (kafka: Kafka, { topic, partitions, replicationFactor }: TopicSettings, names?: RelayNames): Promise<number> {
  const wanted: ITopicConfig[] = [{ topic, numPartitions: partitions, replicationFactor }]
  if (names !== undefined) {
    wanted.push({
      topic: names.checkpointTopic,
      numPartitions: 1,
      replicationFactor,
      // Small segments, as only closed ones are compacted: what a new leader has to read stays small.
      configEntries: [{ name: 'cleanup.policy', value: 'compact' }, { name: 'segment.bytes', value: String(8 * 1024 * 1024) }]
    })
  }
  const admin = kafka.admin()
  const prepare = async (): Promise<number> => {
    await admin.connect()
    const existing = new Set(await admin.listTopics())
    const missing = wanted.filter(({ topic }) => !existing.has(topic))
    if (missing.length > 0) await admin.createTopics({ topics: missing, waitForLeaders: true })
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return topics[0]!.partitions.length
  }
  try {
    return await within(ADMIN_MS_MAX, 'Kafka\'s answer about the topics', prepare())
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Most recent records first: the checkpoint is among the last few, unless many deployments share the topic. */
const WINDOWS = [200, 20_000, Infinity]
const READ_MS_MAX = 60_000

/** @returns the last checkpoint before `marker`, which must have been committed; undefined if there is none */
export async function readCheckpoint (kafka: Kafka, names: RelayNames, marker: Message): Promise<Checkpoint | undefined> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    const [{ low, high } = { low: '0', high: '0' }] = await admin.fetchTopicOffsets(names.checkpointTopic)
    for (const window of WINDOWS) {
      const start = Math.max(Number(low), Number(high) - window)
      const checkpoint = await readFrom(kafka, names, marker, start)
      if (checkpoint !== undefined || start === Number(low)) return checkpoint
    }
    return undefined
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

async function readFrom (kafka: Kafka, { checkpointTopic, checkpointKey }: RelayNames, marker: Message, offset: number): Promise<Checkpoint | undefined> {
  // A group of its own: one that a dead leader is still a member of would wait for its session to end.
  const groupId = `${checkpointTopic}.${randomUUID()}`
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 100 })
  let last: Checkpoint | undefined
  const read = async (): Promise<void> => {
    await consumer.connect()
    await consumer.subscribe({ topic: checkpointTopic, fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ message }) => {
          const key = String(message.key)
          if (key === marker.key && String(message.value) === marker.value) resolve()
          else if (key === checkpointKey && message.value !== null) last = JSON.parse(String(message.value))
        }
      }).catch(reject)
      consumer.seek({ topic: checkpointTopic, partition: 0, offset: String(offset) })
    })
  }
  try {
    await within(READ_MS_MAX, 'the relay\'s checkpoint', read())
    return last
  } finally {
    await within(ADMIN_MS_MAX, 'the end of the checkpoint reader', consumer.disconnect()).catch(() => {})
    forgetGroup(kafka, groupId) // nobody waits for it
  }
}

/** Kafka forgets an empty group by itself only after days. */
export async function forgetGroup (kafka: Kafka, groupId: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect().then(() => admin.deleteGroups([groupId])).catch(() => {}).finally(() => admin.disconnect().catch(() => {}))
}
