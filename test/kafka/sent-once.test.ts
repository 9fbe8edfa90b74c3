import { setTimeout as delay } from 'node:timers/promises'
import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { createRandom } from '../../bench/clients/random.ts'
import { createKafka } from '../../src/kafka/client.ts'
import { openOrderEventsProducer, type OrderEventsProducer } from '../../src/kafka.ts'
import type { Logger } from '../../src/runtime/logger.ts'
import { toRecord } from '../../src/models.ts'
import { NODES, type Behaviour } from '../support/kafka/behaviour.ts'
import { startKafkaBrokers, type KafkaBrokers } from '../support/kafka/brokers.ts'
import { KAFKA_ERRORS } from '../support/kafka/partition-log.ts'

/* With more than one broker a transaction's records go out in several requests, each of which may fail alone. */

const EVENTS = 60
const PARTITIONS = 6
const SLOW_MS = 30
const ROUNDS = 4
const silent = { debug () {}, info () {}, warn () {}, error () {} } as unknown as Logger

async function open (t: Test, behaviour: Partial<Behaviour> = {}) {
  const kafkaBrokers = await startKafkaBrokers(t, { events: PARTITIONS, checkpoints: 1 }, behaviour)
  const producer = await reopen(t, kafkaBrokers)
  kafkaBrokers.requests.length = 0
  return { kafkaBrokers, producer }
}

/** What a relay does at the start and after each failure. */
async function reopen (t: Test, { brokers }: KafkaBrokers): Promise<OrderEventsProducer> {
  const producer = await openOrderEventsProducer({
    kafka: createKafka({ brokers, clientId: 'test', log: silent }),
    transactionalId: 'relay',
    topic: 'events',
    partitions: PARTITIONS,
    checkpointTopic: 'checkpoints',
    marker: { key: 'fence', value: '' }
  })
  t.teardown(() => producer.close())
  return producer
}

const keyOf = (number: number): string => number.toString(16).padStart(24, '0')
const keysFrom = (from: number, transactions = 1): string[] =>
  Array.from({ length: EVENTS * transactions }, (_, index) => keyOf(from + index))
const record = toRecord({
  _id: new ObjectId(),
  userId: 'user-1',
  products: [{ _id: 'product-1', quantity: 1 }],
  createdAt: new Date(),
  updatedAt: new Date(),
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
})
const checkpoint = { key: 'checkpoint', value: '{}' }

/** EVENTS of them, which lie on all partitions. */
function publish (producer: OrderEventsProducer, from = 0): Promise<unknown> {
  return producer.publish(keysFrom(from).map((key) => ({ ...record, key })), checkpoint)
}

function assertCommitted (t: Test, kafkaBrokers: KafkaBrokers, expected: string[]): void {
  const seen = new Set<string>()
  const keys = kafkaBrokers.keysOf('events', 'committed')
  t.equal(keys.filter((key) => seen.size === seen.add(key).size).length, 0, 'none is committed twice')
  t.strictSame(expected.filter((key) => !seen.has(key)), [], 'none is missing')
  t.equal(seen.size, expected.length, 'nor is any other there')
}

const namesOf = ({ requests }: KafkaBrokers, api: string): string[] =>
  requests.filter((request) => request.api === api).map(({ node }) => `${api}@${node}`)

/** So that the others have got their requests when the first broker fails. */
const firstHangs = (node: number): number => node === 1 ? SLOW_MS / 2 : 0

/**
 * The events of a transaction in which one broker fails are committed once, by itself or by the next term. Several
 * rounds, as kafkajs asks any broker about the leaders then, and that may be one that is slow.
 */
async function once (t: Test, fault: (kafkaBrokers: KafkaBrokers) => void): Promise<void> {
  const { kafkaBrokers, producer: first } = await open(t, {
    produceMs: (node) => (node - 1) * 2 * SLOW_MS, hangsMs: firstHangs
  })
  let producer = first
  await publish(producer)
  let failures = 0
  for (let round = 1; round <= ROUNDS; round++) {
    fault(kafkaBrokers)
    const failed = await publish(producer, round * EVENTS).then(() => false, () => true)
    if (!failed) continue
    failures++
    const before = producer
    producer = await reopen(t, kafkaBrokers)
    await Promise.all([before.close(), publish(producer, round * EVENTS)])
  }
  await kafkaBrokers.idle()
  t.comment(`${failures} of ${ROUNDS} transactions failed`)
  assertCommitted(t, kafkaBrokers, keysFrom(0, ROUNDS + 1))
  t.strictSame(kafkaBrokers.keysOf('events', 'open'), [])
}

for (const { name, transactions, produceMs, completesMs, pauseMs } of [
  { name: 'transactions back to back', transactions: 200, produceMs: 10, completesMs: 10, pauseMs: 0 },
  { name: 'transactions with a pause', transactions: 60, produceMs: 10, completesMs: 40, pauseMs: 25 }
]) {
  t.test(`${name} commit each event once, each broker's in one request`, async (t) => {
    const random = createRandom(7)
    const around = (ms: number): number => ms * (0.5 + random.next())
    const { kafkaBrokers, producer } = await open(t, {
      wayMs: () => around(1), produceMs: () => around(produceMs), completesMs: () => around(completesMs)
    })
    for (let n = 0; n < transactions; n++) {
      await publish(producer, n * EVENTS)
      await delay(pauseMs)
    }
    assertCommitted(t, kafkaBrokers, keysFrom(0, transactions))
    t.ok(kafkaBrokers.refused > 0, 'though Kafka was not done with the transaction before')
    t.equal(namesOf(kafkaBrokers, 'Produce').length, transactions * NODES.length)
  })
}

t.test('a coordinator that takes the partitions of some brokers at once and of another later', async (t) => {
  const { kafkaBrokers, producer } = await open(t, { produceMs: () => SLOW_MS })
  let left = 3
  kafkaBrokers.behaviour.refuses = (api, _node, { topic, partition }) =>
    api === 'AddPartitionsToTxn' && topic === 'events' && partition === 0 && left-- > 0
      ? KAFKA_ERRORS.CONCURRENT_TRANSACTIONS
      : 0
  await publish(producer)
  assertCommitted(t, kafkaBrokers, keysFrom(0))
  t.strictSame(namesOf(kafkaBrokers, 'Produce').sort(), ['Produce@1', 'Produce@2', 'Produce@3'])
})

for (const [name, code] of Object.entries(KAFKA_ERRORS)) {
  t.test(`${name} at one partition while other brokers are slow`, async (t) => {
    await once(t, ({ behaviour }) => {
      let left = 1
      behaviour.refuses = (api, node, { topic }) =>
        api === 'Produce' && node === 1 && topic === 'events' && left-- > 0 ? code : 0
    })
  })
}

t.test('a leader that moves while other brokers are slow', async (t) => {
  let leader = 1
  await once(t, (kafkaBrokers) => {
    leader = 3 - leader
    kafkaBrokers.moveLeader({ topic: 'events', partition: 0 }, leader)
  })
})

for (const closes of ['unwritten', 'written'] as const) {
  t.test(`a connection that is closed with its records ${closes} while other brokers are slow`, async (t) => {
    await once(t, ({ behaviour }) => {
      let left = 1
      behaviour.closes = (node) => node === 1 && left-- > 0 ? closes : undefined
    })
  })
}

t.test('after a failure nothing is sent again, nor an abort', async (t) => {
  const { kafkaBrokers, producer } = await open(t, { hangsMs: (node) => node === 1 ? SLOW_MS / 2 : SLOW_MS })
  kafkaBrokers.behaviour.refuses = (api, node) => api === 'Produce' && node === 1 ? KAFKA_ERRORS.MESSAGE_TOO_LARGE : 0
  await t.rejects(publish(producer))
  await producer.close()
  await kafkaBrokers.idle()
  const sent = namesOf(kafkaBrokers, 'Produce')
  t.strictSame(sent, [...new Set(sent)])
  t.strictSame(namesOf(kafkaBrokers, 'EndTxn'), [], 'an abort would overtake what other brokers have not looked at')
  kafkaBrokers.behaviour.refuses = () => 0
  await publish(await reopen(t, kafkaBrokers), EVENTS)
  assertCommitted(t, kafkaBrokers, keysFrom(EVENTS))
})

t.test('records that a hanging broker looks at only after the next term has begun are refused', async (t) => {
  const { kafkaBrokers, producer } = await open(t, { hangsMs: (node) => node === 2 ? 10 * SLOW_MS : firstHangs(node) })
  kafkaBrokers.behaviour.refuses = (api, node) => api === 'Produce' && node === 1 ? KAFKA_ERRORS.MESSAGE_TOO_LARGE : 0
  await t.rejects(publish(producer))
  const sent = (): number => namesOf(kafkaBrokers, 'Produce').length
  await kafkaBrokers.until(() => sent() >= NODES.length) // the last may still be on its way when the first is refused
  t.equal(sent(), NODES.length)
  kafkaBrokers.behaviour.hangsMs = () => 0
  kafkaBrokers.behaviour.refuses = () => 0
  const next = await reopen(t, kafkaBrokers)
  await kafkaBrokers.idle()
  await publish(next, EVENTS)
  assertCommitted(t, kafkaBrokers, keysFrom(EVENTS))
})

t.test('a producer that is closed while it waits for the coordinator asks no more', async (t) => {
  const { kafkaBrokers, producer } = await open(t)
  kafkaBrokers.behaviour.refuses = (api) => api === 'AddPartitionsToTxn' ? KAFKA_ERRORS.CONCURRENT_TRANSACTIONS : 0
  const published = publish(producer)
  published.catch(() => {})
  await kafkaBrokers.until(() => kafkaBrokers.refused > 3)
  await producer.close()
  await t.rejects(published)
  await kafkaBrokers.until(() => kafkaBrokers.connections === 0)
})

t.test('a thin line and a quota make transactions slow, not wrong', async (t) => {
  const { kafkaBrokers, producer } = await open(t, { bytesPerSecond: 100_000, throttleMs: 30 })
  for (let n = 0; n < 5; n++) await publish(producer, n * EVENTS)
  assertCommitted(t, kafkaBrokers, keysFrom(0, 5))
})
