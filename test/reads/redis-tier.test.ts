import { Redis } from 'ioredis'
import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { ANSWER_MS_MAX } from '../../src/reads/redis-tier.ts'
import { startOwnPart } from '../support/faults.ts'
import { aNewOrder, eventually, metric, post, request, startService, type RunningService } from '../helper.ts'

const part = await startOwnPart(t, 'redis')

/**
 * Without its process cache, so that each GET shows what Redis does; and without the relay, which has no part in this.
 */
async function start (t: Test, settings: Parameters<typeof startService>[1] = {}): Promise<RunningService> {
  return await startService(t, { REDIS_URL: part.url, KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0, ...settings })
}

async function usesRedis (service: RunningService): Promise<void> {
  await eventually(() => service.api.redisTier?.usable, 10_000, 'a Redis that is used')
}

async function timed<T> (work: () => Promise<T>): Promise<{ ms: number, result: T }> {
  const began = performance.now()
  const result = await work()
  return { ms: performance.now() - began, result }
}

const statusOf = async (url: string): Promise<number> => (await request(url)).status

t.test('an order is read from Redis once it is there, and a flushed Redis is filled again', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const { body: order } = await post(service.url)
  const url = `${service.url}/${order._id}`
  const redis = new Redis(part.url)
  t.teardown(() => redis.disconnect())
  const key = service.api.redisTier!.keyOf(order._id)
  for (let rounds = 0; rounds < 2; rounds++) {
    t.strictSame((await request(url)).body, order)
    await eventually(() => redis.exists(key), 2_000, 'the order in Redis')
    const hits = await metric(service, 'cache_requests_total{tier="redis",result="hit"}') ?? 0
    t.strictSame((await request(url)).body, order)
    t.equal(await metric(service, 'cache_requests_total{tier="redis",result="hit"}'), hits + 1)
    await redis.flushall()
  }
})

t.test('an order that was on its way for longer than a marker is sure to stay is not written', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const redis = new Redis(part.url)
  t.teardown(() => redis.disconnect())
  const tier = service.api.redisTier!
  tier.fill([['late', '{}']], performance.now() - 16_000)
  tier.fill([['fresh', '{}']], performance.now())
  await eventually(() => redis.exists(tier.keyOf('fresh')), 2_000, 'the order in Redis')
  t.equal(await redis.exists(tier.keyOf('late')), 0)
})

t.test('a service whose Redis is away starts within 2 s, and uses it when it comes', async (t) => {
  await part.kill()
  const { ms, result: service } = await timed(() => start(t))
  t.ok(ms < 2_000, `ready after ${Math.round(ms)} ms`)
  const { body: order } = await post(service.url)
  t.equal(await statusOf(`${service.url}/${order._id}`), 200)
  await part.start()
  await usesRedis(service)
})

t.test('a Redis that is killed fails no request, and is used again when it is back', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const { body: order } = await post(service.url)
  const url = `${service.url}/${order._id}`
  const statuses = new Set<number>()
  let killed: Promise<void> | undefined
  for (let i = 0; i < 200; i++) {
    if (i === 50) killed = part.kill()
    statuses.add(await statusOf(url))
  }
  await killed
  t.strictSame([...statuses], [200])
  t.equal(service.api.redisTier?.usable, false)
  await part.start()
  await usesRedis(service)
  t.equal(await statusOf(url), 200)
})

t.test('a Redis that hangs costs the first GET one time-out and later ones none', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const urls = await Promise.all(
    Array.from({ length: 30 }, async () => `${service.url}/${(await post(service.url)).body._id}`)
  )
  await statusOf(urls[0]!)
  await usesRedis(service) // still, or again if that answer was late
  part.pause()
  t.teardown(() => part.resume())
  const first = await timed(() => statusOf(urls[1]!))
  t.equal(first.result, 200)
  t.ok(first.ms >= ANSWER_MS_MAX - 5 && first.ms < ANSWER_MS_MAX + 100, `the first took ${Math.round(first.ms)} ms`)
  const times: number[] = []
  for (const url of urls) {
    const { ms, result } = await timed(() => statusOf(url))
    t.equal(result, 200)
    times.push(ms)
  }
  const median = times.sort((a, b) => a - b)[times.length / 2]!
  t.ok(median < ANSWER_MS_MAX / 2, `later ones took ${median.toFixed(1)} ms`)
  part.resume()
  await usesRedis(service)
})

t.test('GETs of one cold order at the same time share one read', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const { body: order } = await post(service.url)
  const finds = await countFinds(service, async () => {
    const answers = await Promise.all(Array.from({ length: 1_000 }, () => service.api.inject(`/${order._id}`)))
    t.ok(answers.every(({ statusCode, body }) => statusCode === 200 && JSON.parse(body)._id === order._id))
  })
  t.equal(finds, 1)
})

t.test('GETs of many cold orders at the same time share few reads', async (t) => {
  const service = await start(t)
  await usesRedis(service)
  const orders = Array.from({ length: 1_000 }, () => ({
    _id: new ObjectId(),
    ...aNewOrder,
    createdAt: new Date(),
    updatedAt: new Date()
  }))
  await service.db.collection('orders').insertMany(orders)
  const finds = await countFinds(service, async () => {
    const answers = await Promise.all(orders.map(({ _id }) => service.api.inject(`/${_id}`)))
    t.strictSame(
      answers.map(({ statusCode, body }) => [statusCode, JSON.parse(body)._id]),
      orders.map(({ _id }) => [200, String(_id)])
    )
  })
  t.ok(finds <= 10, `${finds} finds`)
})

/** How often MongoDB is asked for orders meanwhile, as its profiler sees it. */
async function countFinds (service: RunningService, work: () => Promise<void>): Promise<number> {
  await service.db.command({ profile: 2 })
  await work()
  await service.db.command({ profile: 0 })
  return await service.db
    .collection('system.profile')
    .countDocuments({ op: 'query', ns: `${service.namespace}.orders` })
}
