import { once } from 'node:events'
import { Kafka, logLevel, type InstrumentationEvent } from 'kafkajs'
import t from 'tap'
import { createConsumer } from '../src/kafka-consumer.ts'
import { eventually, newNamespace, parts } from './helper.ts'

const BACK_MS_MAX = 2_000

t.test('a consumer that crashes while it is ended does not come back', async (t) => {
  const kafka = new Kafka({ brokers: parts.kafkaBrokers.split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 20, retries: 5 } })
  const topic = newNamespace()
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
  await admin.disconnect()
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: [{ value: 'one' }] })
  await producer.disconnect()

  const { consumer, end } = createConsumer(kafka, { groupId: topic })
  t.teardown(end)
  let joined = 0
  consumer.on(consumer.events.GROUP_JOIN, () => { joined++ })
  const seen = new EventTarget()
  // On its way to the crash it stops itself; who ends it then is told that it has ended, and the crash comes after that.
  consumer.on(consumer.events.STOP, end)
  consumer.on(consumer.events.CRASH, ({ payload: { restart } }: InstrumentationEvent<{ restart: boolean }>) => {
    t.ok(restart, 'kafkajs means to begin again')
    seen.dispatchEvent(new Event('crash'))
  })
  const crashed = once(seen, 'crash')
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachBatch: async () => { throw new Error('not today') } })
  await crashed
  const at = performance.now()
  await eventually(() => joined > 1 || performance.now() - at > BACK_MS_MAX)
  t.equal(joined, 1)
})
