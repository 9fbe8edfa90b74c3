import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { AddressInfo } from 'node:net'
import { Kafka, logLevel, type Admin } from 'kafkajs'
import tap, { type Test } from 'tap'
import type { Order } from '../schemas/order.ts'
import type { Problem } from '../schemas/problem.ts'
import type { Settings } from '../schemas/settings.ts'
import { createService } from '../src/app.ts'
import { startOrderEventsConsumer, type ReceivedOrderEvent } from '../src/kafka.ts'

/*
 * The tests run against the real parts, which `node dist/local/with-parts.js` has started. Each service that a test
 * starts has a database, a key prefix and a topic of its own, all of one name, unless the test gives it another
 * one's.
 */

/*
 * kafkajs can leave a timer behind that connects again and again (a consumer that crashed while it was stopped), and
 * then a file whose tests have all ended would not end. That a service's own process ends is what the tests of shutdown
 * hold.
 */
const LEFT_BEHIND_MS = 30_000
let running = 0
let leaving: NodeJS.Timeout | undefined
tap.beforeEach(() => {
  running++
  clearTimeout(leaving)
})
tap.afterEach(() => {
  if (--running > 0) return
  leaving = setTimeout(() => {
    process.stderr.write(`left behind: ${process.getActiveResourcesInfo().join(', ')}\n`)
    process.exit()
  }, LEFT_BEHIND_MS).unref()
})

export const parts = {
  mongoUrl: required('LOCAL_MONGO_URL'),
  redisUrl: required('LOCAL_REDIS_URL'),
  kafkaBrokers: required('LOCAL_KAFKA_BROKERS')
}

function required (name: string): string {
  const value = process.env[name]
  if (value === undefined) {
    throw new Error(`${name} is not set: run tests with \`npm test\`, or one with \`npm test -- test/NAME.test.ts\``)
  }
  return value
}

export function newNamespace (): string {
  return `test_${randomBytes(6).toString('hex')}`
}

/** The URL of a database on the MongoDB at `url`. */
export function databaseUrl (namespace: string, url = parts.mongoUrl): string {
  const withDatabase = new URL(url)
  withDatabase.pathname = `/${namespace}`
  return withDatabase.href
}

export function settingsFor (namespace: string): Partial<Settings> {
  return {
    HOST: '127.0.0.1',
    PORT: 0,
    METRICS_PORT: 0,
    MONGO_URL: databaseUrl(namespace),
    REDIS_URL: parts.redisUrl,
    KAFKA_BROKERS: parts.kafkaBrokers,
    KAFKA_TOPIC: namespace,
    KAFKA_TOPIC_PARTITIONS: 3,
    LOG_LEVEL: 'silent'
  }
}

export type RunningService = Awaited<ReturnType<typeof startService>>

/** A service in this process, listening on ports of its own. It is closed when the test ends. */
export async function startService (t: Test, settings: Partial<Settings> = {}, namespace = newNamespace()) {
  const { api, operations } = createService({ settings: { ...settingsFor(namespace), ...settings } })
  const close = async (): Promise<void> => {
    await api.close()
    await operations.close()
  }
  t.teardown(close)
  await api.ready()
  await operations.listen({ host: '127.0.0.1', port: 0 })
  await api.listen({ host: '127.0.0.1', port: 0 })
  const urlOf = (server: typeof api): string => `http://127.0.0.1:${(server.server.address() as AddressInfo).port}`
  return { api, operations, namespace, url: urlOf(api), operationsUrl: urlOf(operations), db: api.db, close }
}

export const aNewOrder = {
  userId: 'user-1',
  products: [
    { _id: 'product-1', quantity: 2 },
    { _id: 'product-2', quantity: 1 }
  ]
}

export interface Answer {
  status: number
  headers: Headers
  text: string
  /** The parsed body: an order, a problem, or whatever the test expects to find in it. */
  body: Order & Problem & Record<string, unknown>
}

export async function request (url: string, init?: RequestInit): Promise<Answer> {
  const response = await fetch(url, init)
  const text = await response.text()
  return { status: response.status, headers: response.headers, text, body: text === '' ? undefined : JSON.parse(text) }
}

/** @param body an order by default; a string is sent as it is */
export async function post (
  url: string,
  body: unknown = aNewOrder,
  headers: Record<string, string> = {}
): Promise<Answer> {
  return await request(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body)
  })
}

/** Waits for a condition, with a bound. @returns what the condition returned once it was truthy */
export async function eventually<T> (
  condition: () => T | Promise<T>,
  msMax = 20_000,
  what = 'the condition'
): Promise<NonNullable<T>> {
  const end = performance.now() + msMax
  for (;;) {
    const value = await condition()
    if (value) return value as NonNullable<T>
    if (performance.now() > end) throw new Error(`${what} did not become true within ${msMax} ms`)
    await delay(20)
  }
}

/** Waits until each partition of a topic has a leader: a broker may not know a new topic yet. */
export async function hasLeaders (admin: Admin, topic: string, msMax: number): Promise<void> {
  const ready = async (): Promise<boolean> => {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return topics[0]!.partitions.every(({ leader }) => leader >= 0)
  }
  await eventually(() => ready().catch(() => false), msMax, `the topic ${topic}`)
}

/** Everything that is committed on a topic, collected while the test runs. */
export async function collectEvents (t: Test, topic: string, brokers = parts.kafkaBrokers) {
  const kafka = new Kafka({
    brokers: brokers.split(','),
    clientId: 'test',
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 20 }
  })
  // The relay creates the topic when it leads; a consumer can't subscribe to one that isn't there yet.
  const admin = kafka.admin()
  await admin.connect()
  await hasLeaders(admin, topic, 60_000).finally(() => admin.disconnect())
  const events: ReceivedOrderEvent[] = []
  const seen = new Set<string>()
  const consumer = await startOrderEventsConsumer({
    kafka,
    groupId: `test-${randomBytes(6).toString('hex')}`,
    topic,
    onBatch: async (batch) => {
      // A consumer whose commit failed, as when Kafka hangs, gets the same records again; a second record has another
      // offset.
      for (const event of batch) {
        const place = `${event.partition} ${event.offset}`
        if (!seen.has(place)) events.push(event)
        seen.add(place)
      }
    }
  })
  t.teardown(() => consumer.stop())
  return {
    events,
    stop: () => consumer.stop(),
    /** Waits until there is an event for each id. A duplicate shows as a longer list than ids. */
    async forOrders (ids: string[], msMax = 30_000): Promise<ReceivedOrderEvent[]> {
      await eventually(() => {
        const seen = new Set(events.map(({ event }) => event.orderId))
        return ids.every((id) => seen.has(id))
      }, msMax, 'an event for each order')
      return events
    }
  }
}

/** The value of one series of a service's /metrics, undefined when it isn't there. */
export async function metric (service: { operationsUrl: string }, series: string): Promise<number | undefined> {
  const text = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
