import type { Kafka } from 'kafkajs'
import { msOf } from '../../encoding/order-id.ts'
import { createPartitionOf } from '../../events/partition.ts'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import type { TopicIdentity } from '../checkpoint/topic-identity.ts'
import { topicRanges } from '../../kafka/topic-reader.ts'

/** Between the times that different machines give to one order: in its id, in the oplog, in its record. */
export const MARGIN_MS = 3_600_000

/** What it means that an order isn't on the topic: that it was never sent, or nothing. */
export type Verdict = (id: string) => 'missing' | 'unknowable'

export interface Evidence {
  kafka: Kafka
  topic: string
  identity: TopicIdentity
  /** From when on the topic was read. */
  readFromMs: number
  /** A reconciliation that did not come to its end. */
  earlier: Checkpoint['reconciling']
  /** Orders younger than this were not published before the first reconciliation. */
  notBefore: number
}

/**
 * Asked after a pass over the topic, so that what retention removed meanwhile is not taken for missing. An order that
 * isn't there was never sent if all that could have been sent since is still there, on the topic of then: in its
 * partition there is a record older than that, or none was ever removed. Where partitions were added since, any of them
 * may have been the order's, so this must hold for all. Without that, it is certain only that an order was not sent
 * before it existed.
 */
export async function judge ({ kafka, topic, identity, readFromMs, earlier, notBefore }: Evidence): Promise<Verdict> {
  const partitionOf = createPartitionOf(identity.ends.length)
  const completeSince = async (ms: number, isSame: boolean): Promise<boolean[]> => {
    const complete = (await topicRanges(kafka, topic, ms)).map(({ low, start }) => isSame && (low === 0 || start > low))
    return (identity.grownAt ?? 0) < ms ? complete : complete.map(() => complete.every(Boolean))
  }

  const window = await completeSince(readFromMs, identity.since <= readFromMs)
  // What is younger may have been sent by the earlier reconciliation.
  const resumed =
    earlier === undefined
      ? undefined
      : await completeSince(earlier.since - MARGIN_MS, identity.since === earlier.topicSince)
  return (id) => {
    const partition = partitionOf(id)
    if (window[partition]) return 'missing'
    return msOf(id) > notBefore && (resumed === undefined || resumed[partition]) ? 'missing' : 'unknowable'
  }
}
