import type { Readable } from 'node:stream'
import type { Test } from 'tap'
import { ObjectId } from 'mongodb'
import type { Kafka, Message } from 'kafkajs'
import type { OrderEvent, OrderEventHeaders } from '../../schemas/event.ts'
import { createOrderFeed, type FeedOptions, type OrderFeed } from '../../src/feed/feed.ts'
import { decodePosition } from '../../src/feed/position.ts'
import { createKafka } from '../../src/kafka/client.ts'
import type { Cluster } from '../../src/kafkajs/cluster.ts'
import { eventually, newNamespace, parts } from '../helper.ts'
import { createLog, createTopic, kafka, put, TRACEPARENT } from './relays.ts'

const HEARTBEAT_MS = 60_000
const TIME = '2026-11-27T08:00:00.000Z'

/** Records as the relay makes them, of orders that nobody stored. */
export function eventRecords (count: number, { userId = 'user-1', partition }: { userId?: string, partition?: number } = {}): Message[] {
  return Array.from({ length: count }, () => {
    const orderId = new ObjectId().toHexString()
    const products = [{ _id: 'product-1', quantity: 1 }]
    const event: OrderEvent = {
      type: 'order-placed',
      eventType: 'order-placed',
      userId,
      orderId,
      products,
      payload: { _id: orderId, userId, products, createdAt: TIME, updatedAt: TIME }
    }
    return {
      key: orderId,
      value: JSON.stringify(event),
      headers: headersOf(orderId),
      ...(partition === undefined ? {} : { partition })
    }
  })
}

export function headersOf (orderId: string): OrderEventHeaders {
  return {
    ce_specversion: '1.0',
    ce_id: orderId,
    ce_type: 'order-placed',
    ce_source: '/orders',
    ce_subject: 'user-1',
    ce_time: TIME,
    'content-type': 'application/json',
    traceparent: TRACEPARENT
  }
}

export async function newTopic (numPartitions = 3): Promise<string> {
  const topic = newNamespace()
  await createTopic({ topic, numPartitions })
  return topic
}

export function newFeed (t: Test, topic: string, options: Partial<FeedOptions> = {}) {
  const { log, ...logged } = createLog()
  const counts = { cut: 0, shed: 0 }
  const observe = { feedCut () { counts.cut++ }, shed () { counts.shed++ } }
  const feed = createOrderFeed({ kafka, topic, clientsMax: 100, log, observe, heartbeatMs: HEARTBEAT_MS, ...options })
  t.teardown(() => feed.close())
  return { feed, counts, ...logged }
}

/** Opens a stream, and takes what it says. */
export async function listen (feed: OrderFeed, after?: string, userId?: string) {
  const stream = await feed.open(after === undefined ? undefined : decodePosition(after), userId)
  const listener = {
    stream,
    text: '',
    get ids (): string[] { return idsIn(listener.text) },
    get lastId (): string { return placesIn(listener.text).at(-1) ?? '' }
  }
  stream.setEncoding('utf8').on('data', (chunk) => { listener.text += chunk }).on('error', () => {})
  await eventually(() => listener.text !== '', 10_000, 'its opening')
  return listener
}

/** Takes a stream chunk by chunk, with a pause after each. */
export function readWithPauses (stream: Readable, pause: () => Promise<unknown>) {
  const reader = {
    text: '',
    get ids (): string[] { return idsIn(reader.text) }
  }
  const read = async (): Promise<void> => {
    for await (const chunk of stream.setEncoding('utf8')) {
      reader.text += chunk
      await pause()
    }
  }
  read().catch(() => {})
  return reader
}

/** Puts so many records that they don't fit into one request. */
export async function putAll (topic: string, records: Message[]): Promise<void> {
  for (let first = 0; first < records.length; first += 1_000) await put(topic, records.slice(first, first + 1_000))
}

/** The ids of a stream, one after each event, the opening and each heartbeat. */
export const placesIn = (text: string): string[] => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)

const idsIn = (text: string): string[] => [...text.matchAll(/"orderId":"(\w{24})"/g)].map(([, id]) => id!)

export const idsOf = (records: Message[]): string[] => records.map(({ key }) => String(key)).sort()

/** A Kafka client whose clusters are changed before they are used. */
export function kafkaWith (t: Test, change: (cluster: Cluster) => void): Kafka {
  const own = createKafka({ brokers: parts.kafkaBrokers.split(','), clientId: 'test', log: createLog().log })
  const create = Object.getOwnPropertySymbols(own).find(({ description }) => description?.endsWith('createCluster'))!
  const original = (own as unknown as Record<symbol, (options: object) => Cluster>)[create]!
  t.capture(own as never, create as never, ((options: object) => {
    const cluster = original(options)
    change(cluster)
    return cluster
  }) as never)
  return own
}
