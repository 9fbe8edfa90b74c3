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

export interface RelayNames { checkpointTopic: string, database: string, transactionalId: string }

/**
 * Derived from topic and database, so that deployments which share a Kafka cluster neither fence each other nor read each other's
 * checkpoints. A database's name has neither dots nor blanks.
 */
export function relayNames (topic: string, database: string): RelayNames {
  return { checkpointTopic: `${topic}.checkpoints`, database, transactionalId: `${topic}.relay.${database}` }
}

/** How far the relay is. The lease carries a copy, written lazily, for others to see and for when the topic is lost. */
export interface Checkpoint {
  /** Where the change stream goes on; without it, it starts at `operationTime`. */
  token?: ResumeToken
  /** A time of the cluster: whatever was inserted before it is published. */
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

export function checkpointMessage ({ database }: RelayNames, checkpoint: Checkpoint): Message {
  return { key: database, value: JSON.stringify(checkpoint) }
}

/** A record that says "everything before me is all there is". Its own key keeps compaction from mixing it up with a checkpoint. */
export function fenceMarker ({ database }: RelayNames): Message {
  return { key: `${database} fence`, value: randomUUID() }
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

/** Kafka forgets an empty group by itself only after days. */
export async function forgetGroup (kafka: Kafka, groupId: string): Promise<void> {
  const admin = kafka.admin()
  await admin.connect().then(() => admin.deleteGroups([groupId])).catch(() => {}).finally(() => admin.disconnect().catch(() => {}))
}
