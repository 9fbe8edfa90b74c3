import { Partitioners, type ITopicConfig, type Message } from 'kafkajs'
import { ObjectId, type Collection, type Db, type MongoClient, type Timestamp } from 'mongodb'
import type { Test } from 'tap'
import { relayNames, type Checkpoint } from '../../src/relay/checkpoint/checkpoint.ts'
import { createHeldOrders, type HeldDocument } from '../../src/relay/publishing/held-orders.ts'
import { openOrderEventsProducer } from '../../src/kafka.ts'
import { createKafka } from '../../src/kafka/client.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { createLease, type LeaseDocument } from '../../src/mongo/lease.ts'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import type { ReconciliationObserver } from '../../src/relay/reconciliation/reconcile.ts'
import { createRelay, type RelayOptions } from '../../src/relay/relay.ts'
import { connectMongo } from './faults.ts'
import { aNewOrder, eventually, hasLeaders, newNamespace, parts } from '../helper.ts'

/* The relay alone, without a service around it: a test puts orders into MongoDB, as old as it wants them to be. */

const silent = { debug () {}, info () {}, warn () {}, error () {} }

export const kafka = createKafka({ brokers: parts.kafkaBrokers.split(','), clientId: 'test', log: silent })

export const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
export const SOURCE = 'test'
export const HOUR_MS = 3_600_000

export interface Setting {
  namespace: string
  db: Db
  orders: Collection<OrderDocument>
  leases: Collection<LeaseDocument>
  origin: Timestamp
  client: MongoClient
}

export async function newSetting (t: Test, mongoUrl = parts.mongoUrl, namespace = newNamespace()): Promise<Setting> {
  const client = await connectMongo(t, mongoUrl)
  const db = client.db(namespace)
  const orders = await db.createCollection<OrderDocument>('orders')
  const { operationTime: origin } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
  return { namespace, db, orders, leases: db.collection<LeaseDocument>('relay'), origin, client }
}

export interface Line { level: 'debug' | 'info' | 'warn' | 'error', fields: Record<string, unknown>, msg: string }

/** A log that keeps its lines. */
export function createLog () {
  const lines: Line[] = []
  const at =
    (level: Line['level']) =>
      (fields: object, msg = ''): void => {
        lines.push({ level, fields: { ...fields }, msg })
      }
  return {
    lines,
    log: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    /** Lines of a level and a pattern. */
    told: (level: Line['level'], pattern = /./) =>
      lines.filter((line) => line.level === level && pattern.test(line.msg)),
    /** Lines that an operator sees. */
    matching: (pattern: RegExp) => lines.filter(({ level, msg }) => level !== 'debug' && pattern.test(msg))
  }
}

export function heldOrdersOf ({ db, namespace }: Setting) {
  return createHeldOrders({ collection: db.collection<HeldDocument>('relay'), topic: namespace })
}

export type RunningRelay = ReturnType<typeof startRelay>

export function startRelay (
  t: Test,
  setting: Setting,
  options: Partial<RelayOptions> = {},
  onReconciled: ReconciliationObserver['reconciled'] = () => {}
) {
  const { namespace, db, orders, leases, origin } = setting
  const counts = { found: 0, sent: 0, skipped: 0, unknowable: 0, oversized: 0, transactions: 0 }
  const { log, ...logged } = createLog()
  const relay = createRelay({
    db,
    collection: orders,
    kafka,
    openProducer: (producer) =>
      openOrderEventsProducer({ kafka: options.kafka ?? kafka, topic: namespace, ...producer }),
    topic: { topic: namespace, partitions: 3, replicationFactor: 1 },
    lease: createLease({ collection: leases, name: 'lease', owner: new ObjectId().toHexString(), log }),
    held: heldOrdersOf(setting),
    source: SOURCE,
    keepOrigin: async () => {},
    origin,
    log,
    observe: {
      leader () {},
      started () {},
      published () {
        counts.transactions++
      },
      oversized (orders) {
        counts.oversized = orders
      },
      unknowable (orders) {
        counts.unknowable = orders
      },
      reconciled (result, orders) {
        counts[result] += orders
        onReconciled(result, orders)
      }
    },
    ...options
  })
  relay.start()
  t.teardown(() => relay.stop())
  return { relay, counts, ...logged }
}

export async function startLeading (t: Test, setting: Setting, options?: Partial<RelayOptions>): Promise<RunningRelay> {
  const running = startRelay(t, setting, options)
  await eventually(() => running.relay.leads, 30_000, 'a leader')
  return running
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

export async function createTopic (topic: ITopicConfig): Promise<void> {
  await withAdmin(kafka, 'a topic', async (admin) => {
    await admin.createTopics({ topics: [topic], waitForLeaders: false })
    // kafkajs' own wait ends with an error where the broker doesn't know the new topic yet.
    await hasLeaders(admin, topic.topic, 10_000)
  })
}

export async function deleteTopic (topic: string): Promise<void> {
  await withAdmin(kafka, 'the end of a topic', async (admin) => {
    await admin.deleteTopics({ topics: [topic] })
    await eventually(async () => !(await admin.listTopics()).includes(topic), 20_000, 'a topic that is gone')
  })
}

export async function limitMessages (topic: string, bytesMax: number): Promise<void> {
  const configEntries = [{ name: 'max.message.bytes', value: String(bytesMax) }]
  await withAdmin(kafka, 'a setting', (admin) =>
    admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: topic, configEntries }] }))
}

/**
 * Puts records on a topic as only a broken Kafka, another program or an earlier release would: each once, also where a
 * new topic has no leader yet for some of its partitions and the request is sent again.
 */
export async function put (topic: string, messages: Message[]): Promise<void> {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: true,
    maxInFlightRequests: 1
  })
  await producer.connect()
  await producer.send({ topic, messages })
  await producer.disconnect()
}

export function namesOf ({ namespace }: Setting, source = SOURCE) {
  return relayNames(namespace, namespace, source)
}

/** As Kafka is when it has lost what came after this checkpoint. */
export async function putCheckpoint (setting: Setting, checkpoint: Checkpoint): Promise<void> {
  const { checkpointTopic, checkpointKey } = namesOf(setting)
  await put(checkpointTopic, [{ key: checkpointKey, value: JSON.stringify(checkpoint) }])
}

/** The ids of events, a second event of one too. */
export const idsOf = (events: { event: { orderId: string } }[]): string[] =>
  events.map(({ event }) => event.orderId).sort()
