import type { Document, Timestamp } from 'mongodb'
import { DOCUMENT, int32At } from '../encoding/bson.ts'

/*
 * A change event as MongoDB sends it when a pipeline projects `clusterTime` and more: `_id` (the resume token),
 * `clusterTime`, the rest. https://www.mongodb.com/docs/manual/reference/change-events/
 */

export interface ClusterTime { t: number, i: number }

const TOKEN_AT = 9 // length, type, "_id", 0
const CLUSTER_TIME = Buffer.from('\x11clusterTime\0', 'latin1')
const TIME_BYTES = 8

/** Where a raw event goes on after its cluster time; 0 if it hasn't that shape. */
export function afterClusterTime (event: Buffer): number {
  if (event[4] !== DOCUMENT) return 0
  const element = TOKEN_AT + int32At(event, TOKEN_AT)
  const time = element + CLUSTER_TIME.length
  return event.compare(CLUSTER_TIME, 0, CLUSTER_TIME.length, element, Math.min(time, event.length)) === 0
    ? time + TIME_BYTES
    : 0
}

/**
 * When the change was made, by the cluster's clock.
 * @throws TypeError for an event without it: its pipeline must project it
 */
export function clusterTimeOf (event: Document): ClusterTime {
  if (Buffer.isBuffer(event)) {
    const end = afterClusterTime(event)
    if (end > 0) return { t: event.readUInt32LE(end - TIME_BYTES / 2), i: event.readUInt32LE(end - TIME_BYTES) }
  } else if (event.clusterTime !== undefined) {
    const { t, i } = event.clusterTime as Timestamp
    return { t, i }
  }
  throw new TypeError('a change event has no clusterTime')
}
