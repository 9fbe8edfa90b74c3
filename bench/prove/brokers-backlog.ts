import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { MongoClient } from 'mongodb'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import { startBrokers, type Brokers } from '../rig/brokers.ts'
import { newOrder } from '../clients/client.ts'
import { percentile } from '../clients/open-loop.ts'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService } from '../rig/service.ts'
import { readTopic } from '../check/topic.ts'

const TURNS = 2
const BATCH_ORDERS = 1_000
const LEADER_MS_MAX = 60_000
/** Bound, as for `kafka-away`. */
const EVENTS_PER_SECOND_MIN = 5_000

/** One broker and three in turns: what the machine does beside it then meets both. */
async function run (bench: Bench): Promise<void> {
  const { dir, orders, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, parts: ['mongo', 'redis'], fresh: true })
  const contestants: { title: string, brokers: Brokers, perSecond: number[] }[] = []
  for (const [title, count] of [['one broker', 1], ['three brokers', 3]] as const) {
    contestants.push({ title, brokers: await startBrokers(join(dir, 'brokers'), count, 'default'), perSecond: [] })
  }
  for (let turn = 1; turn <= TURNS; turn++) {
    for (const { title, brokers, perSecond } of contestants) {
      const name = `backlog-${brokers.all.length}-${turn}`
      const run = { bench, brokers, mongoUrl: urls.mongo!, redisUrl: urls.redis!, name }
      perSecond.push(await drain(run, `${title}, turn ${turn}`))
    }
  }
  figure(`a backlog of ${round(orders)} events, ${TURNS} times each in turns`)
  for (const { title, perSecond } of contestants) {
    figure(`${title}: ${round(percentile(perSecond, 0.5))} events/s`)
    detail(`${title}: ${perSecond.map((value) => round(value)).join(', ')} events/s`)
    const least = Math.min(...perSecond)
    expect(least >= EVENTS_PER_SECOND_MIN, `${title} took only ${round(least)} events/s`)
  }
}

/** @returns events a second, from when the relay leads until it has published all of them */
async function drain ({ bench: { dir, orders, expect }, brokers, mongoUrl, redisUrl, name }: {
  bench: Bench, brokers: Brokers, mongoUrl: string, redisUrl: string, name: string
}, title: string): Promise<number> {
  const settings = {
    MONGO_URL: mongoUrl.replace('/?', `/${name}?`),
    REDIS_URL: redisUrl,
    KAFKA_BROKERS: brokers.url,
    KAFKA_TOPIC: name,
    ...brokers.settings
  }
  // It makes the topics and a first checkpoint; then it is away while the orders come.
  const first = await startService(join(dir, 'service'), settings)
  await eventually('a leader', LEADER_MS_MAX, async () => await metric(first, 'relay_leader') === 1)
  await first.stop()
  const ids = await insertOrders(mongoUrl, name, orders)
  const service = await startService(join(dir, 'service'), settings)
  await eventually('a leader', LEADER_MS_MAX, async () => await metric(service, 'relay_leader') === 1)
  const msMax = LEADER_MS_MAX + orders / EVENTS_PER_SECOND_MIN * 10_000
  const published = (): Promise<number> => metric(service, 'relay_events_published_total')
  const ms = await eventually('the end of the backlog', msMax, async () => await published() >= orders)
  const { records, complete } = await readTopic(brokers.url, orders, undefined, name)
  await service.stop()

  const told = new Set(records.map(({ orderId }) => orderId))
  const missing = [...ids].filter((id) => !told.has(id)).length
  expect(missing === 0, `${title}: ${missing} orders are not on the topic`)
  expect(records.length === told.size, `${title}: ${records.length - told.size} records are on the topic a second time`)
  expect([...told].every((id) => ids.has(id)), `${title}: there are events without an order`)
  expect(complete, `${title}: the reader did not come to a lasting end of the topic`)
  return orders / ms * 1000
}

async function insertOrders (mongoUrl: string, database: string, count: number): Promise<Set<string>> {
  const client = await new MongoClient(mongoUrl).connect()
  const ids = new Set<string>()
  try {
    const collection = client.db(database).collection<OrderDocument>('orders')
    for (let n = 0; n < count; n += BATCH_ORDERS) {
      const documents = Array.from({ length: Math.min(BATCH_ORDERS, count - n) }, (_value, index) =>
        toDocument(JSON.parse(newOrder(n + index)), newTraceparent()))
      await collection.insertMany(documents, { ordered: false })
      for (const { _id } of documents) ids.add(_id.toHexString())
    }
  } finally {
    await client.close()
  }
  return ids
}

function newTraceparent (): string {
  return `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`
}

export default { name: 'brokers-backlog', title: 'a backlog on three brokers', run } satisfies Scenario
