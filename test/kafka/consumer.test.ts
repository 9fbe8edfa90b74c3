import { setTimeout as delay } from 'node:timers/promises'
import kafkajs, { Kafka, logLevel, type ConsumerConfig } from 'kafkajs'
import t, { type Test } from 'tap'
import { toRecord } from '../../src/models.ts'
import { createConsumer } from '../../src/kafka/consumer.ts'
import { startOrderEventsConsumer, type OrderEventsConsumerOptions } from '../../src/kafka.ts'
import { ObjectId } from 'mongodb'
import { eventually, newNamespace, parts } from '../helper.ts'

const kafka = new Kafka({
  brokers: parts.kafkaBrokers.split(','),
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 20 }
})

/** Kafka's `group.min.session.timeout.ms`. */
const SESSION_MS_MIN = 6_000
/** Between kafkajs' heartbeats. */
const HEARTBEATS_MS = 3_000
/** In which a consumer that comes back would have joined its group. */
const BACK_MS_MAX = 2_000

/** A topic of one partition. @returns how to put events on it */
async function createTopic (
  t: Test
): Promise<{
  topic: string
  publish: (count: number) => Promise<string[]>
  sendRaw: (value: string) => Promise<void>
}> {
  const topic = newNamespace()
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
  await admin.disconnect()
  const producer = kafka.producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  return {
    topic,
    async publish (count) {
      const messages = Array.from({ length: count }, () => {
        const now = new Date()
        const { key, value, headers } = toRecord({
          _id: new ObjectId(),
          userId: 'user-1',
          products: [{ _id: 'product-1', quantity: 1 }],
          createdAt: now,
          updatedAt: now,
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        })
        return { key, value, headers: { ...headers } }
      })
      await producer.send({ topic, messages })
      return messages.map(({ key }) => key)
    },
    async sendRaw (value) {
      await producer.send({ topic, messages: [{ value }] })
    }
  }
}

/** Collects ids, and lets a test decide what a batch does. */
async function consume (t: Test, topic: string, groupId: string, options: Partial<OrderEventsConsumerOptions> = {}) {
  const ids: string[] = []
  const consumer = await startOrderEventsConsumer({
    kafka,
    groupId,
    topic,
    onBatch: async (events) => { ids.push(...events.map(({ event }) => event.orderId)) },
    ...options
  })
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= consumer.stop())
  t.teardown(stop)
  return { ids, stop }
}

t.test('a group that comes back goes on after the last batch that it dealt with', async (t) => {
  const { topic, publish } = await createTopic(t)
  const groupId = newNamespace()
  const first = await publish(5)
  const before = await consume(t, topic, groupId)
  await eventually(() => before.ids.length === 5)
  t.strictSame(before.ids, first, 'in their order')
  await before.stop()

  const second = await publish(5)
  const after = await consume(t, topic, groupId)
  await eventually(() => after.ids.length >= 5)
  t.strictSame(after.ids, second)
})

t.test('a batch that could not be dealt with comes again', async (t) => {
  const { topic, publish } = await createTopic(t)
  const sent = await publish(3)
  const seen: string[][] = []
  const consumer = await consume(t, topic, newNamespace(), {
    onBatch: async (events) => {
      seen.push(events.map(({ event }) => event.orderId))
      if (seen.length < 3) throw new Error('the mail server is away')
    }
  })
  await eventually(() => seen.length === 3)
  t.strictSame(seen, [sent, sent, sent])
  const [later] = await publish(1)
  await eventually(() => seen.length === 4)
  t.strictSame(seen[3], [later])
  await consumer.stop()
})

for (const slow of ['onBatch', 'onInvalid']) {
  t.test(`a batch whose ${slow} takes longer than the session of its consumer comes once`, async (t) => {
    const { topic, publish, sendRaw } = await createTopic(t)
    const brief = Object.create(kafka, {
      consumer: { value: (config: ConsumerConfig) => kafka.consumer({ ...config, sessionTimeout: SESSION_MS_MIN }) }
    }) as Kafka
    let batches = 0
    const deal = async (): Promise<void> => {
      if (++batches === 1) await delay(SESSION_MS_MIN * 1.5)
    }
    const { ids } = await consume(t, topic, newNamespace(), {
      kafka: brief,
      onBatch: async (events) => {
        ids.push(...events.map(({ event }) => event.orderId))
        await deal()
      },
      onInvalid: deal
    })
    const expected = slow === 'onBatch' ? await publish(1) : []
    if (slow === 'onInvalid') await sendRaw('no JSON')
    await eventually(() => batches === 1)
    expected.push(...await publish(1))
    await eventually(() => ids.includes(expected.at(-1)!))
    t.strictSame(ids, expected)
    t.equal(batches, 2)
  })
}

t.test('a batch comes once also when another member joins while it is dealt with', async (t) => {
  const { topic, publish } = await createTopic(t)
  const groupId = newNamespace()
  const [first] = await publish(1)
  let began = false
  const { ids } = await consume(t, topic, groupId, {
    onBatch: async (events) => {
      ids.push(...events.map(({ event }) => event.orderId))
      if (began) return
      began = true
      await delay(HEARTBEATS_MS * 1.5) // one of them is told that the group changes
    }
  })
  await eventually(() => began)
  const of = new Kafka({
    brokers: parts.kafkaBrokers.split(','),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 20 }
  })
  // It joins when the first member has dealt with its batch.
  const other = await consume(t, topic, groupId, { kafka: of })
  const [later] = await publish(1)
  await eventually(() => ids.length + other.ids.length >= 2)
  t.strictSame([...ids, ...other.ids], [first, later])
})

t.test('a batch that fails for longer than kafkajs tries is not skipped', async (t) => {
  const { topic, publish } = await createTopic(t)
  const sent = await publish(2)
  const groupId = newNamespace()
  let tries = 0
  const patient = new Kafka({
    brokers: parts.kafkaBrokers.split(','),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 5, retries: 2 }
  })
  const ids: string[] = []
  await consume(t, topic, groupId, {
    kafka: patient,
    onBatch: async (events) => {
      if (++tries < 6) throw new Error('the mail server is away')
      ids.push(...events.map(({ event }) => event.orderId))
    }
  })
  await eventually(() => ids.length === 2)
  t.strictSame(ids, sent)
})

t.test('a record that is no order event goes to onInvalid, and the events around it to onBatch', async (t) => {
  const { topic, publish, sendRaw } = await createTopic(t)
  const [first] = await publish(1)
  await sendRaw('no JSON')
  await sendRaw('{"type":"order-placed"}')
  const [second] = await publish(1)
  const reasons: string[] = []
  const { ids } = await consume(t, topic, newNamespace(), {
    onInvalid: async (_message, _partition, reason) => {
      reasons.push(reason)
    }
  })
  await eventually(() => ids.length === 2)
  t.strictSame(ids, [first, second])
  t.match(reasons, [/not JSON/, /its value/])
})

t.test('stop finishes the batch at hand and commits it', async (t) => {
  const { topic, publish } = await createTopic(t)
  const groupId = newNamespace()
  await publish(2)
  let release = (): void => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  let began = false
  let finished = false
  const consumer = await consume(t, topic, groupId, {
    onBatch: async () => {
      began = true
      await held
      finished = true
    }
  })
  await eventually(() => began)
  const stopped = consumer.stop()
  t.equal(await Promise.race([stopped, Promise.resolve('waits')]), 'waits')
  release()
  await stopped
  t.equal(finished, true)
  const [later] = await publish(1)
  const after = await consume(t, topic, groupId)
  await eventually(() => after.ids.length > 0)
  t.strictSame(after.ids, [later])
})

t.test('a consumer that has stopped for good reports it', async (t) => {
  const { topic, publish } = await createTopic(t)
  const crashes: Error[] = []
  await consume(t, topic, newNamespace(), {
    onBatch: async () => { throw new kafkajs.KafkaJSNonRetriableError('it makes no sense to try again') },
    onCrash: (error) => crashes.push(error)
  })
  await publish(1)
  await eventually(() => crashes.length > 0, 30_000, 'the crash')
  t.match(crashes, [{ message: 'it makes no sense to try again' }])
})

t.test('a start that fails leaves no connection behind', async (t) => {
  const sockets = (): number =>
    process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length
  const before = sockets()
  await t.rejects(
    startOrderEventsConsumer({ kafka, groupId: newNamespace(), topic: 'no name for a topic', onBatch: async () => {} })
  )
  await eventually(() => sockets() <= before, 5_000, 'closed connections')
})

t.test('a consumer that crashes while it is ended does not come back', async (t) => {
  const { topic, sendRaw } = await createTopic(t)
  await sendRaw('one')
  const { consumer, end } = createConsumer(kafka, { groupId: topic })
  t.teardown(end)
  let joined = 0
  consumer.on(consumer.events.GROUP_JOIN, () => { joined++ })
  // On its way to the crash it stops itself; ending it then reports that it has ended, and the crash comes after
  // that.
  consumer.on(consumer.events.STOP, end)
  const crashed = new Promise<boolean>((resolve) => {
    consumer.on(consumer.events.CRASH, ({ payload: { restart } }) => resolve(restart))
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachBatch: async () => { throw new Error('not today') } })
  t.ok(await crashed, 'kafkajs means to begin again')
  const at = performance.now()
  await eventually(() => joined > 1 || performance.now() - at > BACK_MS_MAX)
  t.equal(joined, 1)
})
