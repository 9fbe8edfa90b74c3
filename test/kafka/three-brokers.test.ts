import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startFeedListener } from '../../bench/clients/feed-listener.ts'
import { moveLeaders, readPartitions } from '../../bench/rig/partitions.ts'
import { startKafkaCluster } from '../../local/kafka-cluster.ts'
import { assertExactlyOnce, connectMongo, leads, startPosting, storedIds } from '../support/faults.ts'
import { collectEvents, eventually, parts, startService } from '../helper.ts'

/*
 * With one broker a send is one request. With three it is up to three that can fail one by one, and so can be sent
 * again one by one; and partitions can move away from under them.
 */

const PARTITIONS = 6
/** Some hundred transactions, each with records for every broker. */
const ORDERS = 3_000
const CONNECTIONS = 8

const dir = await mkdtemp(join(tmpdir(), 'order-service-brokers-'))
const cluster = await startKafkaCluster({ dir })
t.teardown(async () => {
  await cluster.end()
  await rm(dir, { recursive: true, force: true })
})

async function startLeading (t: Test) {
  const settings = { KAFKA_BROKERS: cluster.url, KAFKA_TOPIC_PARTITIONS: PARTITIONS }
  const service = await startService(t, settings)
  await eventually(() => leads(service), 30_000, 'a leader')
  const client = await connectMongo(t, parts.mongoUrl)
  const collected = await collectEvents(t, service.namespace, cluster.url)
  return { service, client, collected }
}

t.test('each order is published once', async (t) => {
  const { service: { namespace, url }, client, collected } = await startLeading(t)
  const told = await startPosting(t, () => url, CONNECTIONS, ORDERS).done
  t.strictSame(told.filter(({ status }) => status !== 201), [])
  await assertExactlyOnce(t, { client, namespace, ids: storedIds(told), collected, url, partitions: PARTITIONS })
  const made = (await readPartitions(cluster.url.split(','))).filter(({ topic }) => topic.startsWith(namespace))
  t.strictSame(made.map(({ replicas }) => replicas.length), made.map(() => 3), 'as many replicas as the brokers say')
})

t.test('leaders move under load: each order is published once, and comes once on the live feed', async (t) => {
  const { service: { namespace, url }, client, collected } = await startLeading(t)
  const listener = startFeedListener(() => `${url}/orders/stream`)
  t.teardown(() => listener.stop())
  await eventually(() => listener.lastId, 20_000, 'the live feed')
  const posting = startPosting(t, () => url, CONNECTIONS)
  await eventually(() => collected.events.length > 300, 20_000, 'events')
  await moveLeaders(cluster.url.split(','), cluster.brokers[0]!.port, namespace)
  const before = storedIds(posting.told).length
  await eventually(() => storedIds(posting.told).length > before + 300, 20_000, 'orders after it')
  const told = await posting.stop()
  t.strictSame(told.filter(({ status }) => status !== 201), [])
  await assertExactlyOnce(t, { client, namespace, ids: storedIds(told), collected, url, partitions: PARTITIONS })
  const stored = new Set(storedIds(told)) // more are stored to see the ends of the partitions
  const streamed = (): string[] => listener.orderIds().filter((id) => stored.has(id))
  await eventually(() => new Set(streamed()).size === stored.size, 20_000, 'all orders on the live feed')
  t.strictSame(streamed().sort(), [...stored].sort())
  t.equal(listener.connections, 1)
})
