import type { Document } from 'mongodb'

/*
 * A share of the orders that one relay publishes. Which one an order belongs to depends on its id alone, so that everybody who
 * asks, here or in MongoDB, now or after a crash, gets the same answer.
 */

export interface Shard { index: number, of: number }

/** All orders: what a relay without shards publishes. */
export const WHOLE: Shard = { index: 0, of: 1 }

const HEX = '0123456789abcdef'

export function shardsOf (count: number): Shard[] {
  return Array.from({ length: count }, (_value, index) => ({ index, of: count }))
}

/** @param id in lower-case hex. Its last byte is that of a counter, so orders spread evenly. */
export function shardOf (id: string, shards: number): number {
  return (Number.parseInt(id.slice(-2), 16) || 0) % shards
}

/** The same, worked out by MongoDB for the id at `path` ('$_id'). What is no ObjectId is no order either, and falls to the first shard, so that somebody reports it. */
export function shardExpression (path: string, shards: number): Document {
  const digit = (at: number): Document => ({ $indexOfBytes: [HEX, { $substrBytes: [{ $toString: path }, at, 1] }] })
  return { $cond: [{ $eq: [{ $type: path }, 'objectId'] }, { $mod: [{ $add: [{ $multiply: [16, digit(22)] }, digit(23)] }, shards] }, 0] }
}

/** Selects a shard's orders, in a query or a change stream. */
export function inShard (path: string, { index, of }: Shard): Document {
  return of === 1 ? {} : { $expr: { $eq: [shardExpression(path, of), index] } }
}
