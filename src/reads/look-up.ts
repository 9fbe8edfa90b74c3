import { setTimeout as delay } from 'node:timers/promises'
import { ObjectId, type Db } from 'mongodb'
import { OrderSchema } from '../../schemas/order.ts'
import { createBatcher } from '../runtime/batcher.ts'
import { idOf } from '../encoding/bson.ts'
import { bsonToJson } from '../encoding/bson-to-json.ts'
import { findRaw } from '../mongo/cursor.ts'
import { StoreUnavailable } from '../errors.ts'
import { JsonBuffer } from '../encoding/json-buffer.ts'
import { fromBytes, type OrderJson } from '../encoding/order-json.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * Orders by id from where this process doesn't have them: Redis, then MongoDB. Look-ups of one moment share one command
 * in each step, but wait for no step that they don't need: while MongoDB is away Redis serves what it has, whatever
 * other ids are asked for.
 */

const READ_MS_MAX = 5_000
const COMMIT_POLL_MS = 50

export type CacheTier = 'process' | 'redis' | 'mongodb'
export interface ReadObserver { cache: (tier: CacheTier, hits: number, misses: number) => void }

const BATCHES = {
  inFlightMax: 4,
  besideMin: 1, // an id that waited for a batch that hangs would wait a second time
  batchItemsMax: 256,
  batchBytesMax: Infinity,
  itemsMax: 20_000,
  bytesMax: Infinity,
  waitMsMax: READ_MS_MAX,
  full: () => new StoreUnavailable(),
  late: () => new StoreUnavailable()
}

export function createOrderLookUp ({ db, collection, redis, observe }: {
  db: Db, collection: string, redis: RedisTier | undefined, observe: ReadObserver
}) {
  const writeOrder = bsonToJson(OrderSchema)
  const out = new JsonBuffer()

  const inRedis = createBatcher<string, OrderJson | undefined>({
    ...BATCHES,
    async run (ids) {
      const orders = await redis?.get(ids) ?? new Array<undefined>(ids.length).fill(undefined)
      if (redis?.usable === true) count('redis', orders)
      return orders.map(fulfilled)
    }
  })

  const inMongo = createBatcher<string, OrderJson | undefined>({
    ...BATCHES,
    async run (ids) {
      const since = performance.now()
      const found = new Map((await find(ids, 'majority')).map((bson) => {
        writeOrder(bson, out)
        return [idOf(bson), fromBytes(out.view())]
      }))
      redis?.fill(found, since)
      const orders = ids.map((id) => found.get(id))
      count('mongodb', orders)
      return orders.map(fulfilled)
    }
  })

  /** Those that are there, be they committed or not. */
  const onPrimary = createBatcher<string, boolean>({
    ...BATCHES,
    async run (ids) {
      const found = new Set((await find(ids, 'local', { _id: 1 })).map(idOf))
      return ids.map((id) => fulfilled(found.has(id)))
    }
  })

  async function find (ids: string[], level: 'majority' | 'local', projection?: { _id: 1 }): Promise<Buffer[]> {
    return await findRaw({
      db,
      collection,
      find: {
        filter: { _id: { $in: ids.map((id) => new ObjectId(id)) } },
        ...(projection && { projection }),
        readConcern: { level }
      },
      count: ids.length,
      msMax: READ_MS_MAX
    }).catch((cause) => {
      throw new StoreUnavailable({ cause })
    })
  }

  function count (tier: CacheTier, orders: (OrderJson | undefined)[]): void {
    const misses = orders.filter((order) => order === undefined).length
    observe.cache(tier, orders.length - misses, misses)
  }

  /**
   * A new primary has every order that was answered with 201, but knows them to be committed only once a majority
   * follows it: until then a read of what is committed lacks the youngest. (MongoDB's manual, "Read Concern majority".)
   * So an order is unknown only when the primary doesn't have it at all.
   * @param id 24 lower-case hex digits
   * @throws StoreUnavailable
   */
  return async function lookUp (id: string): Promise<OrderJson | undefined> {
    if (redis?.usable === true) {
      const cached = await inRedis.submit(id)
      if (cached !== undefined) return cached
    }
    const until = performance.now() + READ_MS_MAX
    for (;;) {
      const order = await inMongo.submit(id)
      if (order !== undefined || !await onPrimary.submit(id)) return order
      if (performance.now() > until) throw new StoreUnavailable()
      await delay(COMMIT_POLL_MS)
    }
  }
}

function fulfilled<T> (value: T): PromiseFulfilledResult<T> {
  return { status: 'fulfilled', value }
}
