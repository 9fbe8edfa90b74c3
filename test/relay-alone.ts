import { Kafka, logLevel } from 'kafkajs'
import { ObjectId, type Collection, type Db, type MongoClient, type Timestamp } from 'mongodb'
import type { Test } from 'tap'
import { createHeldOrders, type HeldDocument } from '../src/held-orders.ts'
import { createLease, type LeaseDocument } from '../src/lease.ts'
import { toDocument, type OrderDocument } from '../src/models.ts'
import { createRelay, type RelayOptions } from '../src/relay.ts'
import { connectMongo } from './faults.ts'
import { aNewOrder, newNamespace, parts } from './helper.ts'

/* The relay without a service around it: orders are put into MongoDB by the test, as old as it wants them to be. */

export const HOUR_MS = 3_600_000
export const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

export const kafka = new Kafka({
  brokers: parts.kafkaBrokers.split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 5, retries: 20 }
})

export interface Line { level: 'debug' | 'info' | 'warn' | 'error', fields: Record<string, unknown>, msg: string }

/** A log that keeps its lines. */
export function createLog () {
  const lines: Line[] = []
  const at = (level: Line['level']) => (fields: object, msg = ''): void => {
    lines.push({ level, fields: { ...fields }, msg })
  }
  return {
    lines,
    matching: (pattern: RegExp) => lines.filter(({ level, msg }) => level !== 'debug' && pattern.test(msg)),
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }
}

export interface Setting {
  namespace: string
  db: Db
  orders: Collection<OrderDocument>
  leases: Collection<LeaseDocument>
  origin: Timestamp
  client: MongoClient
}

export async function newSetting (t: Test): Promise<Setting> {
  const namespace = newNamespace()
  const client = await connectMongo(t, parts.mongoUrl)
  const db = client.db(namespace)
  const orders = await db.createCollection<OrderDocument>('orders')
  const { operationTime: origin } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
  return { namespace, db, orders, leases: db.collection<LeaseDocument>('relay'), origin, client }
}

export function startRelay (t: Test, setting: Setting, options: Partial<RelayOptions> = {}) {
  const { namespace, db, orders, leases, origin } = setting
  const counts = { unknowable: 0, transactions: 0 }
  const { log, matching } = createLog()
  const relay = createRelay({
    db,
    collection: orders,
    kafka,
    topic: { topic: namespace, partitions: 3, replicationFactor: 1 },
    lease: createLease({ collection: leases, name: 'lease', owner: new ObjectId().toHexString(), log }),
    held: createHeldOrders({ collection: db.collection<HeldDocument>('relay'), topic: namespace }),
    source: 'test',
    keepOrigin: async () => {},
    origin,
    log,
    observe: {
      leader () {},
      published () { counts.transactions++ },
      oversized () {},
      unknowable (orders) { counts.unknowable = orders },
      reconciled () {}
    },
    ...options
  })
  relay.start()
  t.teardown(() => relay.stop())
  return { relay, counts, matching }
}

/** Orders with ids of so long ago. */
export function ordersOf (count: number, ageMs = 0): OrderDocument[] {
  const seconds = Math.floor((Date.now() - ageMs) / 1000)
  return Array.from({ length: count }, () => ({
    ...toDocument(aNewOrder, TRACEPARENT),
    _id: new ObjectId(seconds.toString(16) + new ObjectId().toHexString().slice(8))
  }))
}

export async function insert (orders: Collection<OrderDocument>, count: number, ageMs = 0): Promise<string[]> {
  const documents = ordersOf(count, ageMs)
  await orders.insertMany(documents)
  return documents.map(({ _id }) => _id.toHexString())
}
