import type { Kafka } from 'kafkajs'
import { within } from './deadline.ts'

/*
 * Whether the event topic is still the one that the relay published to. One that was deleted and created again, or another
 * cluster's, looks the same but for its age: that an event isn't on it proves nothing about the time before `since`.
 * (Kafka gives each topic an id, but kafkajs can't ask for it.)
 */

export interface TopicIdentity {
  clusterId: string
  /** Since when it is known to be the same topic, in ms since 1970; 0 = nothing was ever published to another one. */
  since: number
  /** For each partition the offset behind the last known record. A topic that ends before it is another one. */
  ends: number[]
}

/** What a transaction wrote to a partition of the event topic. */
export interface Written { partition: number, offset: number, count: number }

const ANSWER_MS_MAX = 20_000

/**
 * @param known what the checkpoint says
 * @param isFirst nothing was ever published, so whatever the topic is, it lacks nothing
 */
export async function identifyTopic (kafka: Kafka, topic: string, known: TopicIdentity | undefined, isFirst: boolean): Promise<TopicIdentity> {
  const admin = kafka.admin()
  const ask = async (): Promise<TopicIdentity> => {
    await admin.connect()
    const { clusterId } = await admin.describeCluster()
    const ends: number[] = []
    for (const { partition, high } of await admin.fetchTopicOffsets(topic)) ends[partition] = Number(high)
    const isSame = known !== undefined && known.clusterId === clusterId && known.ends.length === ends.length &&
      known.ends.every((end, partition) => end <= ends[partition]!)
    return { ...known, clusterId, since: isFirst ? 0 : isSame ? known.since : Date.now(), ends }
  }
  try {
    return await within(ANSWER_MS_MAX, 'Kafka\'s answer about the topic', ask())
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** The identity after a publish. A record that took the place of an older one shows that the topic was created again meanwhile. */
export function afterWriting (identity: TopicIdentity, written: Written[]): TopicIdentity {
  const ends = [...identity.ends]
  let { since } = identity
  for (const { partition, offset, count } of written) {
    if (offset < (ends[partition] ?? 0)) since = Date.now()
    ends[partition] = offset + count
  }
  return { ...identity, since, ends }
}
