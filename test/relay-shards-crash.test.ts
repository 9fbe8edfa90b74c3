import t from 'tap'
import { shardOf } from '../src/shards.ts'
import { assertExactlyOnce, assertSeenPlainly, connectMongo, forkService, startPosting, storedIds, subscribePlainly, type ServiceProcess } from './faults.ts'
import { collectEvents, eventually, metric, newNamespace, parts, startService } from './helper.ts'

const SHARDS = 3
const PARTITIONS = 6
/** Which of the services are killed at once. */
const ROUNDS = [[0], [0, 1, 2], [1, 2], [0, 1, 2]]

const led = async (service: ServiceProcess): Promise<number> => await metric(service, 'relay_leader').catch(() => 0) ?? 0

t.test('leaders of shards are killed, alone and all at once: whoever reads committed records sees each order once, and each shard has partitions of its own', { timeout: 200_000 }, async (t) => {
  const namespace = newNamespace()
  const settings = { RELAY_SHARDS: SHARDS, KAFKA_TOPIC_PARTITIONS: PARTITIONS }
  const front = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const services = await Promise.all(Array.from({ length: SHARDS }, () => forkService(t, settings, namespace)))
  const allLed = () => eventually(async () => (await Promise.all(services.map(led))).reduce((all, one) => all + one) === SHARDS, 60_000, 'a leader for each shard')
  await allLed()
  const collected = await collectEvents(t, namespace)
  const plain = subscribePlainly(t, namespace)
  const posting = startPosting(t, () => front.url, 8)
  for (const victims of ROUNDS) {
    const before = collected.events.length
    await eventually(() => collected.events.length > before + 300, 30_000, 'events')
    await Promise.all(victims.map((index) => services[index]!.kill()))
    for (const index of victims) services[index] = await forkService(t, settings, namespace)
    await allLed()
  }
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: front.url, partitions: PARTITIONS })
  await assertSeenPlainly(t, plain, collected)
  t.strictSame(plain.filter(({ key, partition }) => partition % SHARDS !== shardOf(key, SHARDS)), [], 'each shard wrote to its own partitions')
  t.equal(new Set(plain.map(({ partition }) => partition)).size, PARTITIONS, 'and used all of them')
  t.comment(`${ids.length} orders, ${plain.length} records`)
})
