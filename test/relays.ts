import { setTimeout as delay } from 'node:timers/promises'
import { ObjectId, type Collection, type Db, type Timestamp } from 'mongodb'
import type { Test } from 'tap'
import { createLease, type LeaseDocument } from '../src/lease.ts'
import { toDocument, type OrderDocument } from '../src/models.ts'
import { createRelays, type RelaysOptions } from '../src/relays.ts'
import { connectMongo } from './faults.ts'
import { aNewOrder, collectEvents, eventually, newNamespace, parts } from './helper.ts'
import { kafka } from './tools.ts'

/* Relays without a service around them, so that they may share what the test wants them to share, and lack what it takes from them. */

export const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

export interface Setting { namespace: string, db: Db, orders: Collection<OrderDocument>, origin: Timestamp }

export async function newSetting (t: Test): Promise<Setting> {
  const namespace = newNamespace()
  const db = (await connectMongo(t, parts.mongoUrl)).db(namespace)
  const orders = await db.createCollection<OrderDocument>('orders')
  const { operationTime: origin } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
  return { namespace, db, orders, origin }
}

/** @param leases of whom it shares none with, only Kafka keeps it apart */
export function startRelays (t: Test, { namespace, db, orders, origin }: Setting, shards: number, leases = 'relay', options: Partial<RelaysOptions> = {}) {
  const counts = { found: 0, sent: 0, skipped: 0 }
  const owner = new ObjectId().toHexString()
  const collection = db.collection<LeaseDocument>(leases)
  const lines: string[] = []
  const log = (...args: unknown[]): void => { lines.push(args.map((arg) => typeof arg === 'string' ? arg : JSON.stringify(arg)).join(' ')) }
  const relays = createRelays({
    db,
    collection: orders,
    kafka,
    topic: { topic: namespace, partitions: 3, replicationFactor: 1 },
    shards,
    leases: collection,
    leaseOf: (name) => createLease({ collection, name, owner }),
    origin,
    log: { debug () {}, info: log, warn: log, error: log },
    observe: { leader () {}, published () {}, unknowable () {}, reconciled (result, orders) { counts[result] += orders } },
    givenUpMs: 0,
    ...options
  })
  relays.start()
  t.teardown(() => relays.stop())
  return { relays, counts, lines, allLed: () => eventually(() => relays.led === shards, 60_000, `${shards} leaders`) }
}

/** Inserts orders all the time, a few at once. */
export function startInserting (t: Test, orders: Collection<OrderDocument>) {
  const ids: string[] = []
  const stopping = new AbortController()
  t.teardown(() => stopping.abort())
  const done = (async () => {
    while (!stopping.signal.aborted) {
      await delay(10)
      const documents = Array.from({ length: 5 }, () => toDocument(aNewOrder, TRACEPARENT))
      await orders.insertMany(documents)
      ids.push(...documents.map(({ _id }) => _id.toHexString()))
    }
  })()
  return {
    ids,
    async stop (): Promise<string[]> {
      stopping.abort()
      await done
      return ids
    }
  }
}

/** Each order once, and those that come last behind all others in each partition. */
export async function assertOnce (t: Test, { orders }: Setting, ids: string[], collected: Awaited<ReturnType<typeof collectEvents>>): Promise<void> {
  await collected.forOrders(ids, 60_000)
  const last = Array.from({ length: 60 }, () => toDocument(aNewOrder, TRACEPARENT))
  await orders.insertMany(last)
  const all = [...ids, ...last.map(({ _id }) => _id.toHexString())]
  const told = (await collected.forOrders(all, 60_000)).map(({ event }) => event.orderId)
  t.equal(new Set(told).size, told.length, 'no event came twice')
  t.strictSame([...new Set(told)].sort(), all.sort(), 'no event is missing or came without its order')
}
