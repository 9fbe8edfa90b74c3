import type { Db } from 'mongodb'
import { createOrderCache } from './process-tier.ts'
import type { OrderJson } from '../encoding/order-json.ts'
import { createOrderLookUp, type ReadObserver } from './look-up.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * One order by id: from this process's cache, or looked up in Redis and MongoDB. What is cached is the serialised
 * order, so that a hit is a look-up and a write to the socket. Misses of one id share one flight.
 */

/** What bounds the age of an entry while nobody follows the changes: 5 s are promised for a fix by hand. */
const TTL_MS = 4_000
/**
 * While they are followed an order is taken out when it changes. All the same it is fetched again from time to time.
 */
const FOLLOWED_TTL_MS = 60_000
/** If the follower of the changes has been silent for so long, some may have been missed. */
const WORD_MS_MAX = 2_500

export type OrderReads = ReturnType<typeof createOrderReads>

export function createOrderReads ({ db, collection, redis, bytesMax, observe }: {
  db: Db, collection: string, redis: RedisTier | undefined, bytesMax: number, observe: ReadObserver
}) {
  const cache = bytesMax === 0 ? undefined : createOrderCache(bytesMax)
  /** One that is taken out while it flies may bring what was there before a change: it isn't kept. */
  const flights = new Map<string, Promise<OrderJson | undefined>>()
  let wordAt = -Infinity
  const lookUp = createOrderLookUp({ db, collection, redis, observe })

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
    const flight = lookUp(id).then((json) => {
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

    /**
     * Several of them: what isn't in this process is asked for in the same moment, and so in one command to Redis and
     * one to MongoDB.
     * @param ids as in `find`
     */
    findAll (ids: string[]): Promise<(OrderJson | undefined)[]> {
      return Promise.all(ids.map((id) => this.find(id)))
    },

    /** A new order is likely to be read soon, and its bytes are at hand. */
    remember (id: string, json: OrderJson): void {
      cache?.set(id, json, performance.now() + TTL_MS)
    },

    /**
     * These have changed. They are invalidated in Redis before this process forgets them for good: otherwise a look-up
     * in between could bring them back.
     */
    async invalidate (ids: string[]): Promise<void> {
      forget(ids)
      await redis?.invalidate(ids)
      forget(ids)
    },

    /**
     * All changes up to `at` (performance.now()), but for those of the last two seconds before, were passed to
     * `invalidate`.
     */
    upToDate (at: number): void {
      wordAt = Math.max(wordAt, at)
    },

    /** Changes were missed for good. */
    forgetAll,

    /** Its memory is needed. */
    clearCache (): void { cache?.clear() }
  }
}
