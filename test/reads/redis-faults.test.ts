import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { forkService, startOwnPart, type ServiceProcess } from '../support/faults.ts'
import { eventually, post, request, startService } from '../helper.ts'

const part = await startOwnPart(t, 'redis')
const WARNING = "Redis can't be used: reads are slower until it can"
const warningsOf = ({ log }: ServiceProcess) => log.filter(({ msg }) => msg === WARNING)

async function connectRedis (t: Test): Promise<Redis> {
  const redis = new Redis(part.url)
  redis.on('error', () => {})
  t.teardown(() => redis.disconnect())
  await eventually(() => redis.status === 'ready')
  return redis
}

const saysRedis = async ({ operationsUrl }: { operationsUrl: string }): Promise<unknown> =>
  (await request(`${operationsUrl}/readyz`)).body.redis

t.test(
  'a Redis that answers with errors is one line with the reason, no part of readiness, and used again once it is cured',
  async (t) => {
    const service = await forkService(t, { REDIS_URL: part.url, KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0 })
    const redis = await connectRedis(t)
    const faults = [
      ['READONLY', () => redis.call('REPLICAOF', '127.0.0.1', '1'), () => redis.call('REPLICAOF', 'NO', 'ONE')],
      [
        'NOPERM',
        () => redis.call('ACL', 'SETUSER', 'default', 'resetkeys', '~others:*'),
        () => redis.call('ACL', 'SETUSER', 'default', 'allkeys')
      ],
      [
        'NOPERM',
        () => redis.call('ACL', 'SETUSER', 'default', '-mget'),
        () => redis.call('ACL', 'SETUSER', 'default', '+@all')
      ],
      ['OOM', () => redis.config('SET', 'maxmemory', '1'), () => redis.config('SET', 'maxmemory', '0')]
    ] as const
    await redis.config('SET', 'maxmemory-policy', 'noeviction')
    for (const [reason, breakIt, cure] of faults) {
      await eventually(async () => (await saysRedis(service)) === true, 10_000, `a Redis that is used before ${reason}`)
      const before = warningsOf(service).length
      await breakIt()
      const statuses = new Set<number>()
      await eventually(
        async () => {
          const {
            body: { _id }
          } = await post(service.url)
          for (let gets = 0; gets < 2; gets++) statuses.add((await request(`${service.url}/${_id}`)).status)
          return warningsOf(service).length > before && (await saysRedis(service)) === false
        },
        10_000,
        `a line of ${reason}`
      )
      for (let looks = 0; looks < 20; looks++) t.equal(await saysRedis(service), false, 'and it stays so')
      t.match(
        warningsOf(service).slice(before),
        [{ reason: new RegExp(`^(${reason}|.*permissions)`) }],
        `one line for ${reason}`
      )
      t.strictSame([...statuses], [200])
      await cure()
    }
    await eventually(async () => (await saysRedis(service)) === true, 10_000, 'a Redis that is used again')
  }
)

t.test("20,000 orders that were fixed while Redis was away don't keep it from being used again", async (t) => {
  const service = await startService(t, { REDIS_URL: part.url, KAFKA_BROKERS: 'off' })
  const tier = service.api.redisTier!
  await eventually(() => tier.usable, 10_000, 'a Redis that is used')
  await part.kill()
  const ids = Array.from({ length: 20_000 }, () => String(new ObjectId()))
  await tier.invalidate(ids)
  t.equal(tier.usable, false)
  await part.start()
  await eventually(() => tier.usable, 10_000, 'a Redis that is used again')
  const redis = await connectRedis(t)
  t.equal(await redis.exists(...ids.map((id) => tier.keyOf(id))), ids.length, 'with a marker for each')
})

/** An order that Redis has; `fix` resolves once it has the marker instead. */
async function cachedOrder (t: Test) {
  const service = await startService(t, { REDIS_URL: part.url, KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0 })
  const tier = service.api.redisTier!
  await eventually(() => tier.usable, 10_000, 'a Redis that is used')
  const redis = await connectRedis(t)
  const { body: { _id: id } } = await post(service.url)
  const userOf = async (): Promise<unknown> => (await request(`${service.url}/${id}`)).body.userId
  await userOf()
  const key = tier.keyOf(id)
  const old = await eventually(() => redis.get(key), 5_000, 'the order in Redis')
  const fix = async (): Promise<void> => {
    await service.db.collection('orders').updateOne({ _id: new ObjectId(id) }, { $set: { userId: 'fixed' } })
    await eventually(async () => await redis.get(key) === '', 5_000, 'its marker')
  }
  return { service, tier, redis, key, old, userOf, fix }
}

t.test('a fix shows though Redis lost its marker, as a restart from a snapshot or a failover does', async (t) => {
  const { tier, redis, userOf, fix } = await cachedOrder(t)
  await redis.save()
  await fix()
  await part.kill()
  await eventually(() => !tier.usable)
  await part.start()
  await eventually(() => tier.usable, 10_000, 'a Redis that is used again')
  t.equal(await userOf(), 'fixed')
})

t.test('a fix shows though Redis was a replica without its marker for a while', async (t) => {
  const other = await startOwnPart(t, 'redis')
  const { service, tier, redis, key, old, userOf, fix } = await cachedOrder(t)
  const elsewhere = new Redis(other.url)
  t.teardown(() => elsewhere.disconnect())
  await elsewhere.set(key, old)
  await fix()
  await redis.call('REPLICAOF', '127.0.0.1', String(other.port))
  await eventually(async () => await redis.get(key) === old, 10_000, 'the order of before')
  const { body: { _id: another } } = await post(service.url)
  await request(`${service.url}/${another}`) // which is to be put there
  await eventually(() => !tier.usable, 10_000, 'a Redis that refuses to write')
  await redis.call('REPLICAOF', 'NO', 'ONE')
  await eventually(() => tier.usable, 10_000, 'a Redis that is used again')
  t.equal(await userOf(), 'fixed')
})

for (const when of ['at once', 'at the first bytes']) {
  t.test(`a Redis that closes each connection ${when} is one line`, async (t) => {
    const closing = createServer((client) => {
      client.on('error', () => {})
      if (when === 'at once') client.destroy()
      else client.once('data', () => client.destroy())
    }).listen(0, '127.0.0.1')
    await once(closing, 'listening')
    t.teardown(() => closing.close())
    const url = `redis://127.0.0.1:${(closing.address() as AddressInfo).port}`
    const service = await forkService(t, { REDIS_URL: url, KAFKA_BROKERS: 'off' })
    await eventually(() => warningsOf(service).length > 0, 10_000, 'a line')
    t.match(warningsOf(service), [{ reason: /clos|EPIPE|ECONNRESET/ }])
    t.equal(await saysRedis(service), false)
  })
}

t.test('a Redis that is too far away is one line, and no further connections', async (t) => {
  let connections = 0
  const far = createServer((client) => {
    connections++
    const upstream = connect(part.port, '127.0.0.1')
    client.on('data', (bytes) => upstream.write(bytes))
    upstream.on('data', (bytes) => setTimeout(() => client.write(bytes), 100))
    for (const [one, other] of [
      [client, upstream],
      [upstream, client]
    ] as const) { one.on('error', () => {}).on('close', () => other.destroy()) }
    t.teardown(() => client.destroy())
  }).listen(0, '127.0.0.1')
  await once(far, 'listening')
  t.teardown(() => far.close())
  const service = await forkService(t, {
    REDIS_URL: `redis://127.0.0.1:${(far.address() as AddressInfo).port}`,
    KAFKA_BROKERS: 'off',
    CACHE_BYTES_MAX: 0
  })
  await eventually(() => warningsOf(service).length > 0, 10_000, 'a line')
  const { body: { _id } } = await post(service.url)
  for (let gets = 0; gets < 20; gets++) t.equal((await request(`${service.url}/${_id}`)).status, 200)
  t.equal(await saysRedis(service), false)
  t.match(warningsOf(service), [{ reason: "Redis' answer did not come within 50 ms" }])
  t.equal(connections, 1)
})
