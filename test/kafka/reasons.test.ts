import { createRequire } from 'node:module'
import { hostname } from 'node:os'
import t from 'tap'
import { checkpointTopicOf } from '../../src/relay/checkpoint/checkpoint.ts'
import { explainKafka, isTooLarge } from '../../src/kafka/reasons.ts'
import { connectMongo, assertExactlyOnce, forkService, leads } from '../support/faults.ts'
import { collectEvents, databaseUrl, eventually, newNamespace, parts, post } from '../helper.ts'
import { createTopic, newSetting, startLeading, startRelay } from '../support/relays.ts'

type Class = new (...args: unknown[]) => Error

const require = createRequire(import.meta.url)
const { createErrorFromCode } = require('kafkajs/src/protocol/error.js') as {
  createErrorFromCode: (code: number) => Error
}
const {
  KafkaJSAggregateError,
  KafkaJSConnectionError,
  KafkaJSCreateTopicError,
  KafkaJSNonRetriableError,
  KafkaJSNumberOfRetriesExceeded
} = require('kafkajs/src/errors.js') as Record<string, Class>

const context = {
  topic: 'shop',
  checkpointTopic: 'shop.checkpoints',
  transactionalId: 'shop.relay.db.1',
  replicationFactor: 3
}

/** Kafka's codes: https://kafka.apache.org/protocol#protocol_error_codes */
const REASONS: [code: number, what: string, named: (string | RegExp)[]][] = [
  [29, 'no right to a topic', ['topics shop and', 'shop.checkpoints', 'KAFKA_USER', /Describe, Read and Write/]],
  [53, 'no right to the transactional id', ['shop.relay.db.1', 'KAFKA_USER', /Describe and Write/]],
  [31, 'no right to the cluster', ['IdempotentWrite', 'KAFKA_USER']],
  [10, 'too large', ['shop', 'shop.checkpoints', 'max.message.bytes', /smaller transactions are tried/]],
  [32, 'a wrong clock', ['clock', hostname(), /20\d\d-\d\d-\d\dT/, 'message.timestamp.after.max.ms']],
  [19, 'too few replicas', ['shop', 'min.insync.replicas', /brokers are missing/]],
  [20, 'too few replicas afterwards', ['shop', 'min.insync.replicas']],
  [47, 'an old epoch', ['shop.relay.db.1', /a copy of this MongoDB publishes to shop/]],
  [49, 'an id that Kafka has forgotten', ['shop.relay.db.1']],
  [3, 'a topic that is gone', ['shop or shop.checkpoints was deleted']]
]

t.test("each reason has Kafka's own words, names what they are about, and says what to do", async (t) => {
  for (const [code, what, named] of REASONS) {
    const error = createErrorFromCode(code)
    const forms = [
      error,
      new KafkaJSNonRetriableError!(error, { cause: error }),
      new KafkaJSNumberOfRetriesExceeded!(error, { retryCount: 9, retryTime: 5 })
    ]
    for (const form of forms) {
      const reason = explainKafka(form, context)
      t.match(reason, error.message, what)
      for (const one of named) t.match(reason, one, `${what}: ${form.name}`)
      t.equal(reason.split('\n').length, 1)
      t.equal(isTooLarge(form), code === 10)
    }
  }
})

t.test("of topics that can't be created each one's reason is given, and the setting", async (t) => {
  const failed = (code: number) => new KafkaJSAggregateError!('Topic creation errors',
    ['shop', 'shop.checkpoints'].map((topic) => new KafkaJSCreateTopicError!(createErrorFromCode(code), topic)))
  const replicas = explainKafka(failed(38), context)
  for (const topic of ['shop', 'shop.checkpoints']) {
    t.match(replicas, `the topic ${topic}: ${createErrorFromCode(38).message}`)
  }
  t.match(replicas, 'KAFKA_TOPIC_REPLICATION=3')
  for (const code of [29, 31]) {
    t.match(
      explainKafka(failed(code), context),
      /KAFKA_USER.*create shop and shop\.checkpoints \(1 partition, cleanup\.policy=compact\)/
    )
  }
})

t.test('of a connection the broker is named, once', async (t) => {
  const error = new KafkaJSConnectionError!('Connection timeout', { broker: 'kafka-2:9092' })
  t.match(explainKafka(error, context), /^Connection timeout.*kafka-2:9092/)
  const reason = explainKafka(new KafkaJSNumberOfRetriesExceeded!(error, { retryCount: 9, retryTime: 5 }), context)
  t.equal(reason.match(/kafka-2:9092/g)?.length, 1, reason)
  const named = new KafkaJSConnectionError!('Connection error: connect ECONNREFUSED 127.0.0.1:9', {
    broker: '127.0.0.1:9'
  })
  t.equal(explainKafka(named, context).match(/127\.0\.0\.1:9/g)?.length, 1)
  t.equal(
    explainKafka(new Error('the end of the Kafka transaction did not come within 15000 ms'), context),
    'the end of the Kafka transaction did not come within 15000 ms'
  )
})

t.test('KAFKA_TOPIC_REPLICATION=3 with one broker: the line names the setting', async (t) => {
  const setting = await newSetting(t)
  const { told } = startRelay(t, setting, { topic: { topic: setting.namespace, partitions: 3, replicationFactor: 3 } })
  const { fields: { reason } } = await eventually(() => told('warn', /tries again/)[0], 30_000, 'a line')
  t.match(reason, /KAFKA_TOPIC_REPLICATION=3 asks for more brokers/)
  t.match(reason, setting.namespace)
})

t.test('a topic of the checkpoints that is not compacted is named in one line', async (t) => {
  const setting = await newSetting(t)
  const topic = checkpointTopicOf(setting.namespace)
  await createTopic({ topic, numPartitions: 1, configEntries: [{ name: 'cleanup.policy', value: 'delete' }] })
  const { relay, told } = await startLeading(t, setting)
  await relay.stop()
  const again = await startLeading(t, setting)
  const lines = [...told('warn'), ...again.told('warn')].map(({ msg }) => msg)
  t.equal(lines.length, 1)
  t.match(lines[0], new RegExp(`the topic ${topic} has cleanup\\.policy=delete.*Set it to compact`))
  const compacted = await startLeading(t, await newSetting(t))
  t.strictSame(compacted.told('warn'), [], 'one that the relay made itself is in order')
})

/** Loaded before the service: its clock is two hours ahead, by which Kafka refuses what it sends. */
const AHEAD = `data:text/javascript,${encodeURIComponent(`
  const now = Date.now
  globalThis.Date = class extends Date {
    constructor (...args) { args.length === 0 ? super(now() + 7_200_000) : super(...args) }
    static now () { return now() + 7_200_000 }
  }`)}`

t.test('a clock two hours ahead is named as such, and with the right one everything is published once', async (t) => {
  const namespace = newNamespace()
  const settings = { MONGO_URL: databaseUrl(namespace), NODE_OPTIONS: `--import=${AHEAD}` }
  const ahead = await forkService(t, settings as object, namespace)
  const ids: string[] = []
  for (let count = 0; count < 3; count++) ids.push((await post(ahead.url)).body._id)
  const line = await eventually(
    () => ahead.log.find(({ reason }) => /clock/.test(reason ?? '')),
    30_000,
    'a line about the clock'
  )
  t.match(line.reason, hostname())
  t.equal(await leads(ahead), false)
  await ahead.kill()

  const service = await forkService(t, {}, namespace)
  ids.push((await post(service.url)).body._id)
  await eventually(() => leads(service), 30_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace,
    ids,
    collected,
    url: service.url
  })
})
