import { Redis } from 'ioredis'
import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { startOwnPart } from '../support/faults.ts'
import { eventually, newNamespace, parts, post, request, startService, type RunningService } from '../helper.ts'

/** What is promised for a fix made by hand. */
const SHOWS_MS_MAX = 5_000

async function start (t: Test, namespace: string, REDIS_URL = parts.redisUrl): Promise<RunningService> {
  const service = await startService(t, { REDIS_URL, KAFKA_BROKERS: 'off' }, namespace)
  await eventually(() => service.api.redisTier?.usable, 10_000, 'a Redis that is used')
  return service
}

async function fix (service: RunningService, id: string, userId: string): Promise<void> {
  await service.db
    .collection('orders')
    .updateOne({ _id: new ObjectId(id) }, { $set: { userId } }, { writeConcern: { w: 'majority' } })
}

const userOf = async ({ url }: RunningService, id: string): Promise<unknown> =>
  (await request(`${url}/${id}`)).body.userId

function inRedis (t: Test, url: string, { api: { redisTier } }: RunningService) {
  const redis = new Redis(url)
  t.teardown(() => redis.disconnect())
  return (id: string) => redis.get(redisTier!.keyOf(id))
}

t.test('an order fixed or deleted by hand shows on every replica within 5 s', async (t) => {
  const namespace = newNamespace()
  const replicas = await Promise.all([start(t, namespace), start(t, namespace)])
  const cached = inRedis(t, parts.redisUrl, replicas[0])
  const { body: { _id: fixed } } = await post(replicas[0].url)
  const { body: { _id: deleted } } = await post(replicas[0].url)
  for (const id of [fixed, deleted]) {
    for (const replica of replicas) t.equal(await userOf(replica, id), 'user-1')
    await eventually(() => cached(id), 2_000, 'the order in Redis')
  }

  await fix(replicas[0], fixed, 'fixed')
  await replicas[0].db.collection('orders').deleteOne({ _id: new ObjectId(deleted) })
  const began = performance.now()
  // Asked again and again, so that no replica gets away with an entry that ran out.
  await Promise.all(replicas.map(async (replica) => {
    await eventually(async () => await userOf(replica, fixed) === 'fixed', SHOWS_MS_MAX, 'the fix')
    await eventually(
      async () => (await request(`${replica.url}/${deleted}`)).status === 404,
      SHOWS_MS_MAX,
      'the deletion'
    )
  }))
  t.ok(
    performance.now() - began < 2_000,
    `after ${Math.round(performance.now() - began)} ms, so by the change stream and not by running out`
  )
  for (const id of [fixed, deleted]) t.notOk(await cached(id), 'Redis no longer has the old one')
  for (const replica of replicas) {
    t.equal(await userOf(replica, fixed), 'fixed')
    t.equal((await request(`${replica.url}/${deleted}`)).status, 404)
  }
})

t.test('a fix made while Redis was away is not undone by what Redis kept', async (t) => {
  for (const gone of ['killed', 'hung'] as const) {
    await t.test(gone, async (t) => {
      const part = await startOwnPart(t, 'redis')
      const service = await start(t, newNamespace(), part.url)
      const redis = new Redis(part.url)
      t.teardown(() => redis.disconnect())
      redis.on('error', () => {})
      const { body: { _id: id, ...rest } } = await post(service.url)
      const old = JSON.stringify({ _id: id, ...rest })
      const key = service.api.redisTier!.keyOf(id)
      await redis.set(key, old)

      if (gone === 'hung') part.pause()
      else await part.kill()
      await fix(service, id, 'fixed')
      await eventually(async () => await userOf(service, id) === 'fixed', SHOWS_MS_MAX, 'the fix')
      if (gone === 'hung') {
        part.resume()
      } else {
        await part.start()
        await eventually(() => redis.status === 'ready')
        // As from a Redis that saves its data.
        if (await redis.exists(key) === 0) await redis.set(key, old, 'NX')
      }
      await eventually(() => service.api.redisTier?.usable, 10_000, 'a Redis that is used')
      t.equal(await redis.get(key) === old, false, 'Redis no longer has the old one')
      t.equal(await userOf(service, id), 'fixed')
    })
  }
})

t.test('a fix made while no service was running shows, though Redis kept the old order', async (t) => {
  const namespace = newNamespace()
  const before = await start(t, namespace)
  const cached = inRedis(t, parts.redisUrl, before)
  const { body: { _id: id } } = await post(before.url)
  const other = await start(t, namespace)
  await userOf(other, id)
  await eventually(() => cached(id), 2_000, 'the order in Redis')
  await other.close()
  await before.close()

  const client = await startService(t, { REDIS_URL: 'off', KAFKA_BROKERS: 'off' }) // only for its connection to MongoDB
  await client.db.client
    .db(namespace)
    .collection('orders')
    .updateOne({ _id: new ObjectId(id) }, { $set: { userId: 'fixed' } })
  t.ok(await cached(id))
  const after = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  t.equal(await userOf(after, id), 'fixed', 'at once')
  await eventually(() => after.api.redisTier?.usable, 10_000, 'a Redis that is used')
  t.equal(await userOf(after, id), 'fixed', 'and when Redis is used again')
})
