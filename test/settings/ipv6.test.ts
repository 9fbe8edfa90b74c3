import t, { type Test } from 'tap'
import { connect, createServer, type AddressInfo } from 'node:net'
import { readSettings } from '../../src/app.ts'
import { createKafka, kafkaSettings } from '../../src/kafka/client.ts'
import type { Logger } from '../../src/runtime/logger.ts'
import { databaseUrl, eventually, newNamespace, parts, post, startService } from '../helper.ts'
import { startKafkaBrokers } from '../support/kafka/brokers.ts'

/** A port of ::1 that leads to one of 127.0.0.1. */
async function forwarded (t: Test, port: string): Promise<{ host: string, readonly connections: number }> {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    const part = connect(Number(port), '127.0.0.1')
    for (const [one, other] of [[socket, part], [part, socket]] as const) {
      one.on('error', () => {}).on('close', () => other.destroy()).pipe(other)
    }
  })
  await new Promise<void>((resolve) => { server.listen(0, '::1', resolve) })
  t.teardown(() => { server.close() })
  return { host: `[::1]:${(server.address() as AddressInfo).port}`, get connections () { return connections } }
}

t.test('MongoDB, Redis and Kafka are used at IPv6 addresses', async (t) => {
  const namespace = newNamespace()
  const mongo = await forwarded(t, new URL(parts.mongoUrl).port)
  const redis = await forwarded(t, new URL(parts.redisUrl).port)
  const kafka = await forwarded(t, parts.kafkaBrokers.split(':')[1]!)
  const database = new URL(databaseUrl(namespace)).pathname
  const service = await startService(t, {
    MONGO_URL: `mongodb://${mongo.host}${database}?directConnection=true`,
    REDIS_URL: `redis://${redis.host}/0`,
    KAFKA_BROKERS: kafka.host
  }, namespace)
  await eventually(() => service.api.relay?.leads, 20_000, 'a leader')
  await eventually(() => service.api.redis.status === 'ready')
  t.equal((await post(service.url)).status, 201)
  for (const part of [mongo, redis, kafka]) t.ok(part.connections > 0)
})

t.test('brokers that say IPv6 addresses of themselves are reached from one of them', async (t) => {
  const kafkaBrokers = await startKafkaBrokers(t, { events: 3 }, {}, '::1')
  const settings = await readSettings({ env: { KAFKA_BROKERS: kafkaBrokers.brokers.join(), LOG_LEVEL: 'silent' } })
  const log = { debug () {} } as unknown as Logger
  const kafka = createKafka({ ...kafkaSettings(settings), clientId: 'test', log })
  const producer = kafka.producer({ idempotent: true, transactionalId: 'test' })
  t.teardown(() => producer.disconnect())
  await producer.connect()
  const transaction = await producer.transaction()
  const messages = ['0', '1', '2'].map((key, partition) => ({ key, partition, value: '' }))
  await transaction.send({ topic: 'events', messages })
  await transaction.commit()
  t.strictSame(kafkaBrokers.keysOf('events', 'committed').sort(), ['0', '1', '2'], 'each broker was reached')
})
