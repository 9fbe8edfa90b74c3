import type { Admin, ITopicConfig } from 'kafkajs'
import type { RelayNames } from './checkpoint.ts'
import type { Logger } from '../../runtime/logger.ts'

/* The relay's side of Kafka: the topic of the events and the compacted topic of one partition with its checkpoints. */

/** @param replicationFactor 0 = as the brokers say */
export interface TopicSettings { topic: string, partitions: number, replicationFactor: number }

/** What the relay has to know of the topic of the events, which may change at any time. */
export interface TopicLimits {
  partitions: number
  /** The largest batch of records that a partition takes, in bytes; undefined where this user may not ask for it. */
  maxMessageBytes: number | undefined
}

/** For Kafka's admin, since Kafka 2.4 (KIP-464). */
const BROKERS_DEFAULT = -1

/** Creates what is missing: the topic and, with `checkpointTopic`, the relay's own. */
export async function prepareTopics (
  admin: Admin,
  { topic, partitions, replicationFactor: wantedReplicas }: TopicSettings,
  checkpointTopic?: string
): Promise<void> {
  const replicationFactor = wantedReplicas === 0 ? BROKERS_DEFAULT : wantedReplicas
  const wanted: ITopicConfig[] = [{ topic, numPartitions: partitions, replicationFactor }]
  if (checkpointTopic !== undefined) {
    wanted.push({
      topic: checkpointTopic,
      numPartitions: 1,
      replicationFactor,
      // Small segments, as only closed ones are compacted: what a new leader has to read stays small.
      configEntries: [
        { name: 'cleanup.policy', value: 'compact' },
        { name: 'segment.bytes', value: String(8 * 1024 * 1024) }
      ]
    })
  }
  const existing = new Set(await admin.listTopics())
  const missing = wanted.filter(({ topic }) => !existing.has(topic))
  if (missing.length > 0) await admin.createTopics({ topics: missing, waitForLeaders: true })
}

export async function countPartitions (admin: Admin, topic: string): Promise<number> {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  return topics[0]!.partitions.length
}

export async function topicLimits (admin: Admin, topic: string): Promise<TopicLimits> {
  const bytes = Number((await configOf(admin, topic, ['max.message.bytes'])).get('max.message.bytes'))
  return { partitions: await countPartitions(admin, topic), maxMessageBytes: bytes > 0 ? bytes : undefined }
}

const warnedOf = new Set<string>()

/** One line, once for each topic, if its checkpoints would be deleted or never be cleared away. */
export async function checkCheckpointTopic (admin: Admin, { checkpointTopic }: RelayNames, log: Logger): Promise<void> {
  const policy = (await configOf(admin, checkpointTopic, ['cleanup.policy'])).get('cleanup.policy')
  if (policy === undefined || policy === 'compact' || warnedOf.has(checkpointTopic)) return
  warnedOf.add(checkpointTopic)
  log.warn(
    { topic: checkpointTopic, 'cleanup.policy': policy },
    `the topic ${checkpointTopic} has cleanup.policy=${policy}: it grows with each transaction and loses the checkpoint of a relay that is away for long. Set it to compact: kafka-configs.sh --alter --entity-type topics --entity-name ${checkpointTopic} --add-config cleanup.policy=compact`
  )
}

/** kafkajs' ConfigResourceTypes.TOPIC, which an ES module can't import by name. */
const TOPIC = 2

/** Without the right to ask nothing is known, and nothing needs to be. */
async function configOf (admin: Admin, topic: string, configNames: string[]): Promise<Map<string, string>> {
  const { resources } = await admin
    .describeConfigs({ includeSynonyms: false, resources: [{ type: TOPIC, name: topic, configNames }] })
    .catch(() => ({ resources: [] }))
  return new Map(
    resources.flatMap(({ configEntries }) =>
      configEntries.map(({ configName, configValue }) => [configName, configValue])
    )
  )
}
