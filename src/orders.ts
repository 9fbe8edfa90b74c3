import type { Collection, Db } from 'mongodb'
import type { NewOrder } from '../schemas/order.ts'
import { createBatcher } from './batcher.ts'
import { NotStored, OrderNotFound, Overloaded } from './errors.ts'
import { createIdempotency } from './idempotency.ts'
import { createInsert, IdempotencyKeyTaken } from './insert.ts'
import type { Logger } from './log.ts'
import { serializeOrder, toDocument, toOrder, type OrderDocument } from './models.ts'
import { fromText, type OrderJson } from './order-json.ts'
import { createOrderLists } from './order-list.ts'
import { createOrderReads, type ReadObserver } from './order-reads.ts'
import { createPace } from './pace.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * The store of orders. Concurrent creations share one durable insert (group commit): one alone takes 0.32 ms of mongod's CPU,
 * one of a batch of 64 takes 0.013 ms.
 */

/** After this an order's sender is told that the outcome is unknown: longer than an election, shorter than most clients wait. */
const STORE_MS_MAX = 10_000
/** Two keep mongod busy while one answer is on its way; more only make the batches smaller. */
const BATCHES_IN_FLIGHT_MAX = 2
const BESIDE_ORDERS_MIN = 16
/**
 * Few enough that the answers to a batch, and the requests that follow them, don't keep the event loop from others for long; for
 * mongod larger ones are hardly cheaper.
 */
const BATCH_ORDERS_MAX = 128
/** Shedding must not empty the batches. */
const ORDERS_MIN = BATCHES_IN_FLIGHT_MAX * BATCH_ORDERS_MAX
/** An insert command must stay under BSON's 16 MiB. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024
const BYTES_MAX = 64 * 1024 * 1024

export interface OrderLimits {
  /** Orders in flight; fewer while the pace at which they are stored would let them wait for longer than `postWaitMsMax`. */
  postsMax: number
  postWaitMsMax: number
  listsMax: number
}

export interface OrdersObserver extends ReadObserver {
  shed: (reason: 'posts' | 'lists') => void
  insert: (orders: number, stored: number, seconds: number) => void
  replayed: () => void
}

export interface CreatedOrder {
  id: string
  json: OrderJson
  /** The order was there already: its Idempotency-Key came before. */
  replayed: boolean
}

export type Orders = ReturnType<typeof createOrders>

export function createOrders ({ db, collection, redis, cacheBytesMax, idempotencyHours, limits, log, observe }: {
  db: Db, collection: Collection<OrderDocument>, redis: RedisTier | undefined, cacheBytesMax: number, idempotencyHours: number, limits: OrderLimits, log: Logger, observe: OrdersObserver
}) {
  const reads = createOrderReads({ db, collection: collection.collectionName, redis, bytesMax: cacheBytesMax, observe })
  const idempotency = createIdempotency({ collection, keptHours: idempotencyHours })
  const insert = createInsert({ db, collection, deadlineMs: STORE_MS_MAX, log })
  const pace = createPace({ waitMsMax: limits.postWaitMsMax, itemsMin: ORDERS_MIN, itemsMax: limits.postsMax })
  const commits = createBatcher<OrderDocument, void>({
    run: async (documents, since) => {
      const start = performance.now()
      const results = await insert(documents, since)
      pace.settled(documents.length)
      observe.insert(documents.length, results.filter(({ status }) => status === 'fulfilled').length, (performance.now() - start) / 1000)
      return results
    },
    inFlightMax: BATCHES_IN_FLIGHT_MAX,
    besideMin: BESIDE_ORDERS_MIN,
    batchItemsMax: BATCH_ORDERS_MAX,
    batchBytesMax: BATCH_BYTES_MAX,
    itemsMax: limits.postsMax,
    bytesMax: BYTES_MAX,
    waitMsMax: STORE_MS_MAX,
    full: () => new Overloaded(),
    late: () => new NotStored()
  })

  /** @returns Overloaded, if one more order would wait for too long. It is asked before the body is read and again with the order. */
  function refusal (): Error | undefined {
    if (commits.items < pace.itemsMax && commits.bytes < BYTES_MAX) return undefined
    observe.shed('posts')
    return new Overloaded()
  }

  async function replay (id: string): Promise<CreatedOrder> {
    const json = await reads.find(id)
    if (json === undefined) throw new OrderNotFound(id) // deleted by hand in this moment
    observe.replayed()
    return { id, json, replayed: true }
  }

  return {
    /**
     * Resolves once a majority of the replica set has the order in its journal.
     * With an idempotency key that came before, it resolves to the order of then.
     * @throws Overloaded, NotStored, OutcomeUnknown, IdempotencyKeyReused, IdempotencyKeyInUse
     */
    async create (newOrder: NewOrder, traceparent: string, idempotencyKey?: string): Promise<CreatedOrder> {
      const refused = refusal()
      if (refused !== undefined) throw refused
      if (commits.items === 0) pace.begin()
      const document = toDocument(newOrder, traceparent, idempotencyKey)
      // Serialised before it is stored: an order that could not be shown must not be committed.
      const order = toOrder(document)
      const json = fromText(serializeOrder(order))
      for (;;) {
        try {
          await commits.submit(document, json.length)
          break
        } catch (error) {
          if (!(error instanceof IdempotencyKeyTaken)) throw error
        }
        const holder = await idempotency.holder(document)
        if (holder?.mine === true) break
        if (holder !== undefined) return await replay(holder._id.toHexString())
      }
      reads.remember(order._id, json)
      return { id: order._id, json, replayed: false }
    },

    refusal,
    get inFlight (): number { return commits.items },
    find: reads.find,
    invalidate: reads.invalidate,
    upToDate: reads.upToDate,
    forgetAll: reads.forgetAll,
    list: createOrderLists({ db, collection: collection.collectionName, listsMax: limits.listsMax, shed: () => observe.shed('lists') })
  }
}
