import { ObjectId, type Document } from 'mongodb'
import { PAGE_ORDERS_DEFAULT, type OrderQuery } from '../../schemas/order-query.ts'
import { firstIdOf } from '../encoding/order-id.ts'
import { FILTER_INDEXES, type OrderFilter } from '../models.ts'

/*
 * A page as MongoDB is asked for it: one range of an index, in its order, so that page 10,000 costs what page 1 does. A
 * time becomes a range of ids, which begin with the second in which they were made: no earlier than `createdAt`, and no
 * more than a second after it.
 */

export type PageQuery = Omit<OrderQuery, 'ids'>

const ID_MIN = '0'.repeat(24)
const ID_MAX = 'f'.repeat(24)
const ID_AFTER_SECONDS_MAX = 1

export function filterOf (query: PageQuery): OrderFilter | undefined {
  if (query.userId !== undefined) return 'userId'
  return query.productId === undefined ? undefined : 'productId'
}

/** @returns a `find` for one order more than the page holds, which says whether another page follows */
export function commandOf (collection: string, query: PageQuery): Document & { limit: number } {
  const { limit = PAGE_ORDERS_DEFAULT, after, order = 'asc', userId, productId } = query
  const [from, to] = [query.createdFrom, query.createdTo].map((time) => time === undefined ? undefined : msOf(time))
  const first = from === undefined ? ID_MIN : firstIdOf(from / 1000)
  const last = to === undefined ? ID_MAX : firstIdOf(Math.ceil(to / 1000) + ID_AFTER_SECONDS_MAX)
  const filter = filterOf(query)
  return {
    find: collection,
    filter: {
      ...(userId !== undefined && { userId }),
      ...(productId !== undefined && { 'products._id': productId }),
      _id: {
        $gte: new ObjectId(first),
        $lte: new ObjectId(last),
        ...(after !== undefined && { [order === 'asc' ? '$gt' : '$lt']: new ObjectId(after) })
      },
      ...((from !== undefined || to !== undefined) && {
        createdAt: {
          ...(from !== undefined && { $gte: new Date(from) }),
          ...(to !== undefined && { $lt: new Date(to) })
        }
      })
    },
    sort: { _id: order === 'asc' ? 1 : -1 },
    // The planner must not choose another index, as an operator may have made for reports.
    hint: filter === undefined ? '_id_' : FILTER_INDEXES[filter].name,
    limit: limit + 1,
    batchSize: limit + 1,
    readConcern: { level: 'majority' }
  }
}

/** The query of the page that follows one that ended with the order of this id. */
export function nextQuery (query: PageQuery, after: string): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries({ ...query, after })) parameters.set(name, String(value))
  return parameters.toString()
}

/**
 * The first whole ms that is not before an RFC 3339 time: orders have ms, and both bounds are compared from below. A
 * leap second, which Date doesn't know, is the second after the one before it.
 */
function msOf (time: string): number {
  const [minute, second, rest] = [time.slice(0, 16), time.slice(16, 19), time.slice(19)]
  const leaps = second === ':60'
  const text = `${minute.replace(/[t ]/, 'T')}${leaps ? ':59' : second}${rest.toUpperCase()}`
  const ms = Date.parse(text.replace(/(\.\d{3})\d+/, '$1')) + (leaps ? 1000 : 0)
  return /\.\d{3}\d*[1-9]/.test(rest) ? ms + 1 : ms
}
