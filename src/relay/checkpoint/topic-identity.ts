import type { Admin } from 'kafkajs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Written } from '../../kafka.ts'

/*
 * Whether the event topic is still the one that the relay published to. One that was deleted and created again, or
 * another cluster's, looks the same but for its age: that an event isn't on it proves nothing about the time before
 * `since`. (Kafka gives each topic an id, but kafkajs can't ask for it.)
 */

export interface TopicIdentity {
  clusterId: string
  /** Since when it is known to be the same topic, in ms since 1970; 0 = nothing was ever published to another one. */
  since: number
  /**
   * For each partition the offset after the last known record. A topic that ends before it is another one, or has lost
   * its end.
   */
  ends: number[]
  /** When partitions were last added, in ms since 1970: an order from before then may be on any of them. */
  grownAt?: number
}

/** A partition that ends before the last record that was written to it. */
export interface LostEnd { partition: number, known: number, end: number }

/** A new leader of a partition may not know yet how far it goes. */
const TRIES = 3
const RETRY_MS = 300

/**
 * @param known what the checkpoint says; undefined if nothing was ever published, so whatever the topic is, it lacks
 * nothing
 * @returns what it is from now on, and what it has lost since
 */
export async function identifyTopic (
  admin: Admin,
  topic: string,
  known: TopicIdentity | undefined
): Promise<{ identity: TopicIdentity, lost: LostEnd[] }> {
  const { clusterId } = await admin.describeCluster()
  for (let tries = 1; ; tries++) {
    const ends: number[] = []
    for (const { partition, high } of await admin.fetchTopicOffsets(topic)) ends[partition] = Number(high)
    if (known === undefined) return { identity: { clusterId, since: 0, ends }, lost: [] }
    const isSameCluster = known.clusterId === clusterId
    const lost = isSameCluster
      ? known.ends.flatMap((end, partition) =>
        end > (ends[partition] ?? 0) ? { partition, known: end, end: ends[partition] ?? 0 } : []
      )
      : []
    if (lost.length > 0 && tries < TRIES) {
      await delay(RETRY_MS)
      continue
    }
    const isSame = isSameCluster && lost.length === 0
    const grownAt = ends.length === known.ends.length ? known.grownAt : Date.now()
    return {
      identity: {
        clusterId,
        since: isSame ? known.since : Date.now(),
        ends,
        ...(grownAt === undefined ? {} : { grownAt })
      },
      lost
    }
  }
}

/**
 * The identity after a publish. A record that took the place of an older one shows that the topic was created again
 * meanwhile.
 */
export function afterWriting (identity: TopicIdentity, written: Written[]): TopicIdentity {
  const isAnew = written.some(({ partition, offset }) => offset < (identity.ends[partition] ?? 0))
  const ends = isAnew ? identity.ends.map(() => 0) : [...identity.ends]
  for (const { partition, offset, count } of written) ends[partition] = offset + count
  return { ...identity, since: isAnew ? Date.now() : identity.since, ends }
}
