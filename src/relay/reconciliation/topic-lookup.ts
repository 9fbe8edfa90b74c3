import type { Kafka, KafkaMessage } from 'kafkajs'
import { ObjectId } from 'mongodb'
import { ORDER_PLACED } from '../../../schemas/event.ts'
import { createIdSet, type IdSet } from './id-set.ts'
import { msOf } from '../../encoding/order-id.ts'
import type { TopicIdentity } from '../checkpoint/topic-identity.ts'
import { readRanges, topicRanges } from '../../kafka/topic-reader.ts'
import { judge, MARGIN_MS } from './absence.ts'

/** Marks the orders of a set whose events are on the topic, as far as it was written since then, in ms since 1970. */
export async function markPublished ({
  kafka,
  topic,
  set,
  sinceMs,
  signal
}: {
  kafka: Kafka
  topic: string
  set: IdSet
  sinceMs: number
  signal: AbortSignal
}): Promise<void> {
  const ranges = await topicRanges(kafka, topic, sinceMs)
  await readRanges({
    kafka,
    topic,
    ranges,
    signal,
    onRecord: (record) => {
      if (isOfOrder(record)) set.mark(String(record.key))
    }
  })
}

/** Foreign records, of other types of events, may be on the topic too. */
function isOfOrder ({ key, headers }: KafkaMessage): boolean {
  return key !== null && String(headers?.ce_type ?? ORDER_PLACED) === ORDER_PLACED
}

export interface Lookup {
  /** The event is on the topic. */
  published: string[]
  /** There is none, and there never was. */
  missing: string[]
  /** There is none any more, or there never was: nobody can know. */
  unknowable: string[]
}

/** Looks orders up on the topic, in one pass over what may hold their events. */
export async function lookUp ({
  kafka,
  topic,
  identity,
  ids,
  signal
}: {
  kafka: Kafka
  topic: string
  identity: TopicIdentity
  ids: string[]
  signal: AbortSignal
}): Promise<Lookup> {
  const sorted = [...new Set(ids)].sort()
  const set = createIdSet(sorted.length)
  for (const id of sorted) set.add(new ObjectId(id))
  const readFromMs = msOf(sorted[0]!) - MARGIN_MS
  await markPublished({ kafka, topic, set, sinceMs: readFromMs, signal })
  // Of an order that somebody put there by hand not even its age says that it was never published.
  const verdict = await judge({ kafka, topic, identity, readFromMs, earlier: undefined, notBefore: Infinity })
  const unmarked = [...set.unmarked()]
  const absent = new Set(unmarked)
  return {
    published: sorted.filter((id) => !absent.has(id)),
    missing: unmarked.filter((id) => verdict(id) === 'missing'),
    unknowable: unmarked.filter((id) => verdict(id) !== 'missing')
  }
}
