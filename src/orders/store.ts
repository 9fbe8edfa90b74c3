import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, Db } from 'mongodb'
import type { NewOrder } from '../../schemas/order.ts'
import { createBatcher } from '../runtime/batcher.ts'
import { NotStored, OrderNotFound, Overloaded } from '../errors.ts'
import { createIdempotency, type Holder } from './idempotency.ts'
import { createInsert, IdempotencyKeyTaken } from './insert.ts'
import type { Logger } from '../runtime/logger.ts'
import { serializeOrder, toDocument, toOrder, type OrderDocument } from '../models.ts'
import { fromText, type OrderJson } from '../encoding/order-json.ts'
import { createAdmission } from './admission.ts'

/*
 * The store of orders. Concurrent creations share one durable insert (group commit): one alone takes 0.32 ms of
 * mongod's CPU, one of a batch of 64 takes 0.013 ms.
 */

/** After this the answer says that the outcome is unknown: longer than an election, shorter than most clients wait. */
const STORE_MS_MAX = 10_000
/** Pause before an order is tried again because its key was taken and then free again. */
const RETRY_MS = 100
/** Two keep mongod busy while one answer is on its way; more only make the batches smaller. */
const BATCHES_IN_FLIGHT_MAX = 2
const BESIDE_ORDERS_MIN = 16
/**
 * Few enough that the answers to a batch, and the requests that follow them, don't keep the event loop from others for
 * long; for mongod larger ones are hardly cheaper.
 */
const BATCH_ORDERS_MAX = 128
/** Shedding must not empty the batches. */
const ORDERS_MIN = BATCHES_IN_FLIGHT_MAX * BATCH_ORDERS_MAX
/** An insert command must stay under BSON's 16 MiB. */
const BATCH_BYTES_MAX = 4 * 1024 * 1024
const BYTES_MAX = 64 * 1024 * 1024

export interface OrderLimits {
  /**
   * Orders in flight; fewer while the pace at which they are stored would let them wait for longer than
   * `postWaitMsMax`.
   */
  postsMax: number
  postWaitMsMax: number
}

export interface OrdersObserver {
  shed: (reason: 'posts') => void
  insert: (orders: number, stored: number, seconds: number) => void
  replayed: () => void
}

/** The way back to a stored order. */
export interface StoredOrders {
  find: (id: string) => OrderJson | undefined | Promise<OrderJson | undefined>
  /** A new order is likely to be read soon. */
  remember: (id: string, json: OrderJson) => void
}

export interface CreatedOrder {
  id: string
  json: OrderJson
  /** The order was there already: its Idempotency-Key came before. */
  replayed: boolean
}

export type Orders = ReturnType<typeof createOrders>

export function createOrders ({
  db,
  collection,
  reads,
  idempotencyHours,
  limits,
  log,
  observe
}: {
  db: Db
  collection: Collection<OrderDocument>
  reads: StoredOrders
  idempotencyHours: number
  limits: OrderLimits
  log: Logger
  observe: OrdersObserver
}) {
  const idempotency = createIdempotency({ collection, keptHours: idempotencyHours })
  const insert = createInsert({ db, collection, deadlineMs: STORE_MS_MAX, log })
  const admission = createAdmission({
    waitMsMax: limits.postWaitMsMax,
    itemsMin: ORDERS_MIN,
    itemsMax: limits.postsMax
  })
  /** Orders that wait for the one that has their Idempotency-Key. */
  let waiting = 0
  const inFlight = (): number => commits.items + waiting
  const commits = createBatcher<OrderDocument, void>({
    run: async (documents, since) => {
      const start = performance.now()
      const results = await insert(documents, since)
      admission.settled(documents.length)
      observe.insert(
        documents.length,
        results.filter(({ status }) => status === 'fulfilled').length,
        (performance.now() - start) / 1000
      )
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

  /**
   * @returns Overloaded, if one more order would wait for too long. It is asked before the body is read and again with
   * the order.
   */
  function refusal (): Error | undefined {
    if (inFlight() < admission.itemsMax && commits.bytes < BYTES_MAX) return undefined
    observe.shed('posts')
    return new Overloaded()
  }

  /** Who has its key. Once nobody has it any more, it can be tried again. */
  async function settle (document: OrderDocument, until: number): Promise<Holder | undefined> {
    waiting++
    try {
      const holder = await idempotency.holder(document, until)
      if (holder === undefined) await delay(RETRY_MS)
      return holder
    } finally {
      waiting--
    }
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
     * @throws Overloaded, NotStored, OutcomeUnknown, IdempotencyKeyReused, IdempotencyKeyInUse, StoreUnavailable
     */
    async create (newOrder: NewOrder, traceparent: string, idempotencyKey?: string): Promise<CreatedOrder> {
      const refused = refusal()
      if (refused !== undefined) throw refused
      if (inFlight() === 0) admission.begin()
      const document = toDocument(newOrder, traceparent, idempotencyKey)
      // Serialised before it is stored: an order that could not be shown must not be committed.
      const order = toOrder(document)
      const json = fromText(serializeOrder(order))
      for (const until = performance.now() + STORE_MS_MAX; ;) {
        try {
          await commits.submit(document, json.length)
          break
        } catch (error) {
          if (!(error instanceof IdempotencyKeyTaken)) throw error
        }
        const holder = await settle(document, until)
        if (holder?.mine === true) break
        if (holder !== undefined) return await replay(holder._id.toHexString())
        if (performance.now() > until) throw new NotStored()
      }
      reads.remember(order._id, json)
      return { id: order._id, json, replayed: false }
    },

    /**
     * The order that came with this key before, if there is one.
     * @throws IdempotencyKeyReused, IdempotencyKeyInUse, OrderNotFound, StoreUnavailable
     */
    async find (newOrder: NewOrder, idempotencyKey: string): Promise<CreatedOrder | undefined> {
      const document = toDocument(newOrder, '', idempotencyKey)
      const holder = await idempotency.holder(document, performance.now() + STORE_MS_MAX)
      return holder === undefined ? undefined : await replay(holder._id.toHexString())
    },

    refusal,
    get inFlight (): number {
      return inFlight()
    }
  }
}
