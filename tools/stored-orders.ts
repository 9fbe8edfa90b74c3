import { ObjectId, type Collection, type Document, type Filter } from 'mongodb'
import { deadline } from '../src/runtime/deadline.ts'
import { ANY_OBJECT_ID, type OrderDocument } from '../src/models.ts'
import { firstIdOf, msOf } from '../src/encoding/order-id.ts'

/** Orders by the time in their ids, which is that of their making, to the second: from `since` until before `until`. */
export interface Range { since?: Date | undefined, until?: Date | undefined }

const PAGE_ORDERS = 1_000
/** A page of one user's orders may have to pass over all others'. Just below the client's own limit for a socket. */
const PAGE_MS_MAX = 40_000
const DAY_END_MS = 0xffffffff * 1000

/** @returns the time, to the second. @throws an Error that names the option */
export function timeFrom (name: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const ms = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : NaN
  if (!(ms >= 0 && ms <= DAY_END_MS)) throw new Error(`--${name} must be a time as 2026-11-22T10:00:00Z or 2026-11-22`)
  return new Date(Math.floor(ms / 1000) * 1000)
}

export function inRange (id: string, { since, until }: Range): boolean {
  const ms = msOf(id)
  return (since === undefined || ms >= since.getTime()) && (until === undefined || ms < until.getTime())
}

export function rangeFilter ({
  since,
  until
}: Range): { $gte: ObjectId, $lte: ObjectId } | { $gte: ObjectId, $lt: ObjectId } {
  const $gte = since === undefined ? ANY_OBJECT_ID.$gte : firstObjectIdOf(since)
  return until === undefined ? { $gte, $lte: ANY_OBJECT_ID.$lte } : { $gte, $lt: firstObjectIdOf(until) }
}

function firstObjectIdOf (time: Date): ObjectId {
  return new ObjectId(firstIdOf(time.getTime() / 1000))
}

/**
 * What a majority holds, by ascending id, page by page: no cursor stays open for as long as the reader takes.
 * @param after the last order that was read
 */
export async function * storedOrders (
  collection: Collection<OrderDocument>,
  range: Range,
  filter: Filter<Document> = {},
  after?: string
): AsyncGenerator<Document[]> {
  let last = after === undefined ? undefined : new ObjectId(after)
  for (;;) {
    const _id = { ...rangeFilter(range), ...(last === undefined ? {} : { $gt: last }) }
    const page = await (collection as unknown as Collection<Document>)
      .find({ ...filter, _id }, { readConcern: 'majority', readPreference: 'primary', ...deadline(PAGE_MS_MAX) })
      .sort({ _id: 1 })
      .limit(PAGE_ORDERS)
      .toArray()
    if (page.length > 0) yield page
    if (page.length < PAGE_ORDERS) return
    last = page.at(-1)!._id
  }
}
