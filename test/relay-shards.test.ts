import t, { type Test } from 'tap'
import { assertExactlyOnce, connectMongo, forkService, startPosting, storedIds, type ServiceProcess } from './faults.ts'
import { collectEvents, eventually, metric, newNamespace, parts } from './helper.ts'

/* Several services share the shards of the relay. */

const led = async (service: { operationsUrl: string }): Promise<number> => await metric(service, 'relay_leader').catch(() => 0) ?? 0
const sum = async (services: ServiceProcess[]): Promise<number> => (await Promise.all(services.map(led))).reduce((all, one) => all + one, 0)

async function startServices (t: Test, namespace: string, count: number, shards: number): Promise<ServiceProcess[]> {
  const services = await Promise.all(Array.from({ length: count }, () => forkService(t, { RELAY_SHARDS: shards }, namespace)))
  await eventually(async () => await sum(services) === shards, 60_000, 'a leader for each shard')
  return services
}

for (const shards of [2, 3]) {
  t.test(`with ${shards} shards in ${shards} services each order is told once, whichever leader is killed`, async (t) => {
    const namespace = newNamespace()
    const services = await startServices(t, namespace, shards, shards)
    const collected = await collectEvents(t, namespace)
    const survivor = await forkService(t, { RELAY_SHARDS: shards }, namespace)
    const posting = startPosting(t, () => survivor.url, 16)
    let alive = [...services, survivor]
    for (const service of services) {
      const before = collected.events.length
      await eventually(() => collected.events.length > before + 200, 30_000, 'events')
      await service.kill()
      const killed = performance.now()
      alive = alive.filter((one) => one !== service)
      await eventually(async () => await sum(alive) === shards, 20_000, 'a leader for each shard')
      const took = performance.now() - killed
      t.ok(took < 12_000, `after ${Math.round(took)} ms`)
    }
    const ids = storedIds(await posting.stop())
    await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: survivor.url })
    t.equal(await metric(survivor, 'relay_shards'), shards)
  })
}

t.test('two services that start together share the shards', async (t) => {
  const services = await startServices(t, newNamespace(), 2, 2)
  t.strictSame(await Promise.all(services.map(led)), [1, 1])
})
