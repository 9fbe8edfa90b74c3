import t from 'tap'
import { startLocalParts } from '../../local/index.ts'
import { startOrderEventsConsumer, type ReceivedOrderEvent } from '../../src/kafka.ts'
import { eventually, post, startService } from '../helper.ts'

const kafkaUser = { username: 'orders', password: 'secret' }

t.test('a Kafka that wants a login gets KAFKA_USER and KAFKA_PASSWORD', async (t) => {
  const local = await startLocalParts({ dir: t.testdir(), parts: ['kafka'], progress: 'silent', kafkaUser })
  t.teardown(() => local.stop())
  t.strictSame(local.missing, [])
  const login = { KAFKA_BROKERS: local.urls.kafka!, KAFKA_SASL: 'plain', KAFKA_USER: kafkaUser.username }

  const service = await startService(t, { ...login, KAFKA_PASSWORD: kafkaUser.password })
  await eventually(() => service.api.relay!.leads, 30_000, 'a leader')
  const { body: order } = await post(`${service.url}/orders`)
  const events: ReceivedOrderEvent[] = []
  const consumer = await startOrderEventsConsumer({
    kafka: service.api.orderEvents!.kafka,
    groupId: 'login',
    topic: service.namespace,
    onBatch: async (batch) => {
      events.push(...batch)
    }
  })
  t.teardown(() => consumer.stop())
  await eventually(() => events.length > 0)
  t.equal(events[0]!.event.orderId, order._id)

  const refused = await startService(t, { ...login, KAFKA_PASSWORD: 'wrong' })
  t.equal(
    (await post(`${refused.url}/orders`)).status,
    201,
    'a wrong password makes events wait, as a Kafka that is away does'
  )
  t.equal(refused.api.relay!.leads, false)
})

t.test('KAFKA_SASL without user and password is refused at the start', async (t) => {
  await t.rejects(startService(t, { KAFKA_SASL: 'plain' }), { message: /KAFKA_USER and KAFKA_PASSWORD must be set/ })
})
