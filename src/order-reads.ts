import { ObjectId, type Db } from 'mongodb'
import { OrderSchema } from '../schemas/order.ts'
import { createBatcher } from './batcher.ts'
import { bsonToJson } from './bson-json.ts'
import { findRaw } from './cursor.ts'
import { StoreUnavailable } from './errors.ts'
import { JsonBuffer } from './json-buffer.ts'
import { createOrderCache } from './order-cache.ts'
import { fromBytes, type OrderJson } from './order-json.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * One order by id: process cache, then Redis, then MongoDB. What is cached is the serialised order, so that a hit is a look-up
 * and a write to the socket. Misses of one id share one flight, misses of one moment share one MGET and one `$in`.
 */

/** What bounds the age of an entry while nobody follows the changes: 5 s are promised for a fix by hand. */
const TTL_MS = 4_000
/** While they are followed an order is taken out when it changes. All the same it is fetched again from time to time. */
const FOLLOWED_TTL_MS = 60_000
/** Without a word for so long from who follows the changes, some may have been missed. */
const WORD_MS_MAX = 2_500
const READ_MS_MAX = 5_000

export type CacheTier = 'process' | 'redis' | 'mongodb'
export interface ReadObserver { cache: (tier: CacheTier, hits: number, misses: number) => void }

export type OrderReads = ReturnType<typeof createOrderReads>

export function createOrderReads ({ db, collection, redis, bytesMax, observe }: {
  db: Db, collection: string, redis: RedisTier | undefined, bytesMax: number, observe: ReadObserver
}) {
  const cache = bytesMax === 0 ? undefined : createOrderCache(bytesMax)
  /** One that is taken out while it flies may bring what was there before a change: it isn't kept. */
  const flights = new Map<string, Promise<OrderJson | undefined>>()
  let wordAt = -Infinity
  const writeOrder = bsonToJson(OrderSchema)
  const out = new JsonBuffer()
  const misses = createBatcher<string, OrderJson | undefined>({
    run: load,
    inFlightMax: 4,
    besideMin: 1, // who waited for a batch that hangs in Redis would wait a second time
    batchItemsMax: 256,
    batchBytesMax: Infinity,
    itemsMax: 20_000,
    bytesMax: Infinity,
    waitMsMax: READ_MS_MAX,
    full: () => new StoreUnavailable(),
    late: () => new StoreUnavailable()
  })

  async function load (ids: string[]): Promise<PromiseSettledResult<OrderJson | undefined>[]> {
    const orders = await redis?.get(ids) ?? new Array<OrderJson | undefined>(ids.length).fill(undefined)
    const absent = ids.filter((_id, index) => orders[index] === undefined)
    if (redis?.usable === true) observe.cache('redis', ids.length - absent.length, absent.length)
    if (absent.length > 0) {
      const since = performance.now()
      const found = await fetchOrders(absent)
      observe.cache('mongodb', found.size, absent.length - found.size)
      redis?.fill(found, since)
      ids.forEach((id, index) => { orders[index] ??= found.get(id) })
    }
    return orders.map((value) => ({ status: 'fulfilled', value }))
  }

  async function fetchOrders (ids: string[]): Promise<Map<string, OrderJson>> {
    const documents = await findRaw({ db, collection, filter: { _id: { $in: ids.map((id) => new ObjectId(id)) } }, count: ids.length, msMax: READ_MS_MAX })
      .catch((cause) => { throw new StoreUnavailable({ cause }) })
    return new Map(documents.map((bson) => {
      writeOrder(bson, out)
      return [idOf(bson), fromBytes(out.view())]
    }))
  }

  /** Asked at each look-up, not by a timer: in a process that stood still both would be late. */
  function followed (now: number): boolean {
    if (now - wordAt <= WORD_MS_MAX) return true
    if (wordAt !== -Infinity) forgetAll()
    return false
  }

  function forgetAll (): void {
    wordAt = -Infinity
    cache?.clear()
    flights.clear()
  }

  function forget (ids: string[]): void {
    for (const id of ids) {
      cache?.delete(id)
      flights.delete(id)
    }
  }

  /** @param until what comes may be as old as the question, so its time counts from there */
  function fly (id: string, until: number): Promise<OrderJson | undefined> {
    const isCounted = (): boolean => flights.get(id) === flight
    const flight = misses.submit(id).then((json) => {
      if (json !== undefined && isCounted()) cache?.set(id, json, until)
      return json
    }).finally(() => {
      if (isCounted()) flights.delete(id)
    })
    flights.set(id, flight)
    return flight
  }

  return {
    /**
     * @param id 24 lower-case hex digits
     * @returns the serialised order, at once when this process has it; undefined when there is none
     */
    find (id: string): OrderJson | Promise<OrderJson | undefined> {
      const now = performance.now()
      const ttl = followed(now) ? FOLLOWED_TTL_MS : TTL_MS
      const cached = cache?.get(id, now)
      if (cached !== undefined) {
        observe.cache('process', 1, 0)
        return cached
      }
      observe.cache('process', 0, 1)
      return flights.get(id) ?? fly(id, now + ttl)
    },

    /** A new order is likely to be read soon, and its bytes are at hand. */
    remember (id: string, json: OrderJson): void {
      cache?.set(id, json, performance.now() + TTL_MS)
    },

    /** These have changed. Redis is told before the process forgets them for good: else a look-up in between could bring them back. */
    async invalidate (ids: string[]): Promise<void> {
      forget(ids)
      await redis?.invalidate(ids)
      forget(ids)
    },

    /** All changes up to `at` (performance.now()), but for those of the last two seconds before, were told to `invalidate`. */
    upToDate (at: number): void {
      wordAt = Math.max(wordAt, at)
    },

    /** Changes were missed for good. */
    forgetAll
  }
}

/** MongoDB stores `_id` first: size (4), type (1), "_id\0" (4), then the ObjectId's 12 bytes. */
function idOf (bson: Buffer): string {
  return Buffer.from(bson.buffer, bson.byteOffset + 9, 12).toString('hex')
}
