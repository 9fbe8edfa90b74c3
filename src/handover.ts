import { timeOfToken, type ResumeToken } from './change-stream.ts'
import type { Checkpoint, Handover } from './relay-topics.ts'
import { shardOf } from './shards.ts'
import type { TopicIdentity } from './topic-identity.ts'
import { MARGIN_MS } from './verdict.ts'

/*
 * When the number of shards changes, each shard ends somewhere else in the oplog. The new ones start at the time of the first of
 * these ends and leave out what the old ones had published from there on. That is exact, as resume tokens are ordered: they are key strings in hex
 * that compare byte by byte (MongoDB's resume_token.h), and MongoDB itself starts behind a token by comparing like this.
 */

/** A token's place in that order. A time of the cluster stands before all tokens of that time, as it begins them. */
export function endOf ({ token, operationTime }: Pick<Checkpoint, 'token' | 'operationTime'>): string {
  if (operationTime === undefined) return String(token!._data)
  const hex = (number: number): string => number.toString(16).toUpperCase().padStart(8, '0')
  return `82${hex(operationTime.t)}${hex(operationTime.i)}`
}

function timeOfEnd (end: string): { t: number, i: number } {
  return { t: timeOfToken({ _data: end }), i: Number.parseInt(end.slice(10, TIME_DIGITS), 16) }
}

/** A key string's type, and the eight bytes of the time. */
const TIME_DIGITS = 18
/** The next field: the form of the token. It is another one after an upgrade of MongoDB. */
const VERSION_DIGITS = 4

export class TokensDiffer extends Error {}

/**
 * Whether an event was published before the shards changed.
 * @throws TokensDiffer if its token can't be compared
 */
export function wasPublished (token: ResumeToken, id: string, handovers: Handover[]): boolean {
  const data = String(token._data)
  return handovers.some(({ shards, ends }) => {
    const end = ends[shardOf(id, shards)]!
    const versionOf = (of: string): string => of.slice(TIME_DIGITS, TIME_DIGITS + VERSION_DIGITS)
    if (end.length > TIME_DIGITS && end.slice(0, TIME_DIGITS) === data.slice(0, TIME_DIGITS) && versionOf(end) !== versionOf(data)) {
      throw new TokensDiffer('MongoDB\'s resume tokens have another form than before the shards changed')
    }
    return data <= end
  })
}

/** Those that still matter behind a position. */
export function beyond (handovers: Handover[], position: Pick<Checkpoint, 'token' | 'operationTime'>): Handover[] {
  const end = endOf(position)
  return handovers.filter(({ ends }) => ends.some((other) => other > end))
}

/** Behind it nothing was published, in ms since 1970. */
export function publishedUntilMs (checkpoint: Checkpoint): number {
  const ends = [endOf(checkpoint), ...(checkpoint.handovers ?? []).flatMap(({ ends }) => ends)]
  return Math.max(...ends.map((_data) => timeOfToken({ _data }))) * 1000
}

/** Where an old shard ended. It is exact if it is Kafka's own; a copy may be older than what was published. */
export interface ShardEnd { checkpoint: Checkpoint, exact: boolean }

/** The checkpoint with which each of the new shards starts. */
export function handOver (old: ShardEnd[], nowMs: number): Checkpoint {
  const checkpoints = old.map(({ checkpoint }) => checkpoint)
  const ends = checkpoints.map(endOf)
  const first = ends.reduce((least, end) => end < least ? end : least)
  const handovers = unique([{ shards: old.length, ends }, ...checkpoints.flatMap(({ handovers = [] }) => handovers)])
  const orderId = checkpoints.flatMap(({ orderId }) => orderId ?? []).sort().at(-1)
  const topic = commonIdentity(checkpoints.map(({ topic }) => topic), nowMs)
  const next: Checkpoint = {
    // Not its token: MongoDB does not find the event again that a token names where another shard's filter leaves it out.
    operationTime: timeOfEnd(first),
    ...(orderId === undefined ? {} : { orderId }),
    ...(topic === undefined ? {} : { topic }),
    at: new Date(nowMs).toISOString()
  }
  if (old.every(({ checkpoint, exact }) => exact && checkpoint.reconciling === undefined)) {
    const left = beyond(handovers, next)
    return left.length === 0 ? next : { ...next, handovers: left }
  }
  // One of them doesn't know itself what it has published: the new ones compare with the topic what may have been published by any.
  const earlier = checkpoints.flatMap(({ reconciling }) => reconciling ?? [])
  const topicSince = topic?.since ?? nowMs
  return {
    ...next,
    reconciling: {
      since: Math.min(nowMs, ...earlier.map(({ since }) => since)),
      topicSince: earlier.every((one) => one.topicSince === topicSince) ? topicSince : NEVER,
      notBefore: Math.max(
        ...earlier.map(({ notBefore }) => notBefore),
        ...old.map(({ checkpoint, exact }) => (exact ? publishedUntilMs(checkpoint) : Math.max(publishedUntilMs(checkpoint), Date.parse(checkpoint.at))) + MARGIN_MS))
    }
  }
}

/** No topic is known since then, so nothing is concluded from what is not on it. */
const NEVER = -1

function unique (handovers: Handover[]): Handover[] {
  return [...new Map(handovers.map((handover) => [JSON.stringify(handover), handover])).values()]
}

/** What is true for all of them. Undefined makes the topic's age start now. */
function commonIdentity (topics: (TopicIdentity | undefined)[], nowMs: number): TopicIdentity | undefined {
  const known = topics.filter((topic) => topic !== undefined)
  const [one] = known
  if (one === undefined) return undefined
  const isSame = known.length === topics.length && known.every(({ clusterId, ends }) => clusterId === one.clusterId && ends.length === one.ends.length)
  return {
    clusterId: one.clusterId,
    since: isSame ? Math.max(...known.map(({ since }) => since)) : nowMs,
    movedAt: nowMs,
    ends: one.ends.map((_end, partition) => Math.max(...known.map(({ ends }) => ends[partition] ?? 0)))
  }
}
