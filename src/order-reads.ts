import { LRUCache } from 'lru-cache'
import { ObjectId, type Collection } from 'mongodb'
import { OrderSchema } from '../schemas/order.ts'
import { createBatcher } from './batcher.ts'
import { bsonToJson } from './bson-json.ts'
import { deadline } from './deadline.ts'
import { StoreUnavailable } from './errors.ts'
import { JsonBuffer } from './json-buffer.ts'
import type { OrderDocument } from './models.ts'
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
/** What an entry costs beside its bytes: key, list links, Buffer header. */
const ENTRY_BYTES = 250
const READ_MS_MAX = 5_000

export type CacheTier = 'process' | 'redis' | 'mongodb'
export interface ReadObserver { cache: (tier: CacheTier, hits: number, misses: number) => void }

export type OrderReads = ReturnType<typeof createOrderReads>

export function createOrderReads ({ collection, redis, bytesMax, observe }: {
  collection: Collection<OrderDocument>, redis: RedisTier | undefined, bytesMax: number, observe: ReadObserver
}) {
  const cache = bytesMax === 0
    ? undefined
    : new LRUCache<string, Buffer>({ maxSize: bytesMax, maxEntrySize: bytesMax, sizeCalculation: (json) => json.length + ENTRY_BYTES, ttl: TTL_MS })
  /** One that is taken out while it flies may bring what was there before a change: it isn't kept. */
  const flights = new Map<string, Promise<Buffer | undefined>>()
  let wordAt = -Infinity
  const writeOrder = bsonToJson(OrderSchema)
  const out = new JsonBuffer()
  const misses = createBatcher<string, Buffer | undefined>({
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

  async function load (ids: string[]): Promise<PromiseSettledResult<Buffer | undefined>[]> {
    const orders = await redis?.get(ids) ?? new Array<Buffer | undefined>(ids.length).fill(undefined)
    const absent = ids.filter((_id, index) => orders[index] === undefined)
    if (redis?.usable === true) observe.cache('redis', ids.length - absent.length, absent.length)
    if (absent.length > 0) {
      const found = await fetchOrders(absent)
      observe.cache('mongodb', found.size, absent.length - found.size)
      redis?.fill([...found])
      ids.forEach((id, index) => { orders[index] ??= found.get(id) })
    }
    return orders.map((value) => ({ status: 'fulfilled', value }))
  }

  async function fetchOrders (ids: string[]): Promise<Map<string, Buffer>> {
    const documents = await collection.find(
      { _id: { $in: ids.map((id) => new ObjectId(id)) } },
      { raw: true, readConcern: 'majority', batchSize: ids.length, ...deadline(READ_MS_MAX) }).toArray()
      .catch((cause) => { throw new StoreUnavailable({ cause }) }) as unknown as Buffer[]
    return new Map(documents.map((bson) => {
      writeOrder(bson, out)
      return [idOf(bson), out.take()]
    }))
  }

  /** Asked at each look-up, not by a timer: in a process that stood still both would be late. */
  function followed (): boolean {
    if (performance.now() - wordAt <= WORD_MS_MAX) return true
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

  function fly (id: string, ttl: number): Promise<Buffer | undefined> {
    const isCounted = (): boolean => flights.get(id) === flight
    const start = performance.now() // what comes may be as old as the question
    const flight = misses.submit(id).then((json) => {
      if (json !== undefined && isCounted()) cache?.set(id, json, { ttl, start })
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
    find (id: string): Buffer | Promise<Buffer | undefined> {
      const ttl = followed() ? FOLLOWED_TTL_MS : TTL_MS
      const cached = cache?.get(id)
      if (cached !== undefined) {
        observe.cache('process', 1, 0)
        return cached
      }
      observe.cache('process', 0, 1)
      return flights.get(id) ?? fly(id, ttl)
    },

    /** A new order is likely to be read soon, and its bytes are at hand. */
    remember (id: string, json: Buffer): void {
      cache?.set(id, json)
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
