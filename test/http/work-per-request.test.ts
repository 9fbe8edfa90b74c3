import { ObjectId, type Document } from 'mongodb'
import t, { type Test } from 'tap'
import { recordsOf } from '../../src/events/change-to-record.ts'
import { openOrderStream } from '../../src/relay/publishing/order-stream.ts'
import { connectMongo } from '../support/faults.ts'
import { aNewOrder, eventually, metric, newNamespace, parts, post, startService } from '../helper.ts'

/*
 * What a request costs, counted in what it sends to MongoDB, Redis and Kafka: a change that makes the service slower by
 * its shape fails here, without a clock.
 */

/** More than an order is kept without somebody who follows the changes. */
const LONGER_MS = 4_500

/** A service and, from `count` on, what it sends. Its database's profiler sees every command. */
async function startCounted (t: Test, settings = {}) {
  const namespace = newNamespace()
  const client = await connectMongo(t, parts.mongoUrl)
  const db = client.db(namespace)
  await db.createCollection('system.profile', { capped: true, size: 16 * 1024 * 1024 })
  await db.command({ profile: 2 })
  const service = await startService(t, settings, namespace)
  await eventually(() => service.api.redisTier?.usable ?? true, 10_000, 'a Redis that is tried out')
  const redisCommands: string[] = []
  const { redis } = service.api
  const send = redis.sendCommand
  redis.sendCommand = function (command, stream) {
    redisCommands.push(command.name)
    return send.call(this, command, stream)
  }

  let since = 0
  return {
    ...service,
    db,
    /** From the next millisecond on: the profiler's entries bear the one in which a command ended. */
    count (): void {
      since = Date.now() + 1
      while (Date.now() < since);
      redisCommands.length = 0
    },
    redisCommands: (name: string): number => redisCommands.filter((command) => command === name).length,
    /** Commands on the orders, but for the relay's and the invalidation's change streams. */
    async mongoCommands (): Promise<Document[]> {
      const entries = await db
        .collection('system.profile')
        .find({ ns: `${namespace}.orders`, ts: { $gte: new Date(since) }, appName: 'order-service' })
        .toArray()
      return entries.filter(
        ({ command, originatingCommand }) =>
          JSON.stringify(originatingCommand ?? command).includes('$changeStream') === false
      )
    }
  }
}

async function postMany (url: string, count: number): Promise<string[]> {
  return (await Promise.all(Array.from({ length: count }, () => post(`${url}/orders`)))).map(({ body }) => body._id)
}

/** So that the next look-up goes to Redis, or, without it, to MongoDB. */
async function getAll (url: string, ids: string[]): Promise<void> {
  await Promise.all(
    ids.map(async (id) => {
      t.equal(
        (
          await fetch(`${url}/orders/${id}`).then(async (response) => {
            await response.text()
            return response
          })
        ).status,
        200
      )
    })
  )
}

t.test('a POST alone is one insert, and a hundred at once are a few', async (t) => {
  const service = await startCounted(t)
  await post(service.url)
  service.count()
  await post(service.url)
  const alone = await service.mongoCommands()
  t.strictSame(alone.map(({ op }) => op), ['insert'])
  t.equal(
    service.redisCommands('get') + service.redisCommands('mget') + service.redisCommands('set'),
    0,
    'and nothing to Redis'
  )

  service.count()
  const injected = await Promise.all(
    Array.from({ length: 100 }, () => service.api.inject({ method: 'POST', url: '/', payload: aNewOrder }))
  )
  t.ok(injected.every(({ statusCode }) => statusCode === 201))
  const together = await service.mongoCommands()
  t.ok(together.every(({ op }) => op === 'insert'))
  t.ok(together.length <= 5, `${together.length} inserts`)
})

t.test('a POST with an Idempotency-Key is one insert too; a repeated one is an insert and a look-up', async (t) => {
  const service = await startCounted(t)
  const headers = { 'idempotency-key': 'key-1' }
  service.count()
  t.equal((await post(service.url, aNewOrder, headers)).status, 201)
  t.strictSame((await service.mongoCommands()).map(({ op }) => op), ['insert'])
  service.count()
  t.equal((await post(service.url, aNewOrder, headers)).headers.get('idempotent-replayed'), 'true')
  t.strictSame((await service.mongoCommands()).map(({ op }) => op).sort(), ['insert', 'query'])
})

t.test('a hot GET asks nobody', async (t) => {
  const service = await startCounted(t)
  const ids = await postMany(service.url, 20)
  service.count()
  for (let i = 0; i < 5; i++) await getAll(service.url, ids)
  t.strictSame(await service.mongoCommands(), [])
  t.equal(service.redisCommands('mget'), 0)
})

t.test('nor does one that is hot for longer, while the changes are followed', async (t) => {
  const service = await startCounted(t)
  const ids = await postMany(service.url, 20)
  await eventually(async () => { // what was kept before the stream of changes was open runs out once
    service.count()
    for (const end = performance.now() + LONGER_MS; performance.now() < end;) {
      await Promise.all(ids.map(async (id) => (await fetch(`${service.url}/${id}`)).text()))
    }
    return (await service.mongoCommands()).length === 0 && service.redisCommands('mget') === 0
  }, 30_000, 'a time without look-ups')
})

t.test('cold GETs of one moment share one MGET and one find, and fill Redis for the other replicas', async (t) => {
  const service = await startCounted(t, { CACHE_BYTES_MAX: 0 })
  await eventually(() => service.api.redisTier?.usable, 20_000, 'Redis')
  const ids = await postMany(service.url, 100)
  service.count()
  const answers = await Promise.all(ids.map((id) => service.api.inject(`/orders/${id}`)))
  t.ok(answers.every(({ statusCode }) => statusCode === 200))
  const finds = await service.mongoCommands()
  t.ok(finds.length <= 4, `${finds.length} finds`)
  t.ok(finds.every(({ op }) => op === 'query'), 'and none asks whether anything follows')
  await eventually(() => service.redisCommands('set') === ids.length, 10_000, 'each in Redis once')
  t.ok(service.redisCommands('mget') <= 4, `${service.redisCommands('mget')} times MGET`)

  // A busy machine makes Redis too slow for a moment, and the breaker keeps it out until the next probe.
  await eventually(async () => {
    service.count()
    await Promise.all(ids.map((id) => service.api.inject(`/orders/${id}`)))
    return (await service.mongoCommands()).length === 0 && service.redisCommands('mget') <= 4
  }, 20_000, 'Redis has them all, and MongoDB is not asked')
})

t.test('a hundred GETs of one order at once are a look-up or two', async (t) => {
  const service = await startCounted(t, { CACHE_BYTES_MAX: 0 })
  const [id] = await postMany(service.url, 1)
  service.count()
  await Promise.all(Array.from({ length: 100 }, () => service.api.inject(`/orders/${id}`)))
  const finds = await service.mongoCommands()
  t.ok(
    finds.length >= 1 && finds.length <= 5,
    `${finds.length} finds: another one only for those who came after its end`
  )
  t.ok(finds.every(({ op }) => op === 'query'), 'and none asks whether anything follows')
})

t.test('a batch of 250 ids is one MGET and one find, or nothing at all', async (t) => {
  const service = await startCounted(t)
  const { _id, ...order } = (await post(service.url)).body
  const documents = Array.from({ length: 250 }, () => ({ ...order, _id: new ObjectId() }))
  await service.db.collection('orders').insertMany(documents)
  const ids = documents.map(({ _id }) => _id.toHexString()).join()
  service.count()
  t.equal((await service.api.inject(`/orders?ids=${ids}`)).json().length, 250)
  t.strictSame((await service.mongoCommands()).map(({ op }) => op), ['query'])
  t.equal(service.redisCommands('mget'), 1)
  service.count()
  await service.api.inject(`/orders?ids=${ids}`)
  t.strictSame(await service.mongoCommands(), [])
  t.equal(service.redisCommands('mget'), 0)
})

t.test('a page is one find, also the one that ends just where the orders do', async (t) => {
  const service = await startCounted(t)
  await postMany(service.url, 20)
  for (const limit of [5, 20, 21]) {
    service.count()
    t.equal((await service.api.inject(`/orders?limit=${limit}`)).json().length, Math.min(limit, 20))
    t.strictSame((await service.mongoCommands()).map(({ op }) => op), ['query'])
  }
})

t.test('a list of 5,000 orders is a find and a few batches', async (t) => {
  const service = await startCounted(t)
  const [id] = await postMany(service.url, 1)
  const { _id, ...order } = (await service.db.collection('orders').findOne({}))!
  t.equal(String(_id), id)
  await service.db.collection('orders').insertMany(Array.from({ length: 4_999 }, () => ({ ...order })))
  service.count()
  t.equal((await (await fetch(`${service.url}/orders`)).json() as unknown[]).length, 5_000)
  const commands = await service.mongoCommands()
  t.equal(commands.filter(({ op }) => op === 'query').length, 1)
  t.ok(commands.length <= 24, `${commands.length} batches`)
})

t.test('a backlog goes to Kafka in a few transactions', async (t) => {
  const namespace = newNamespace()
  const silent = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  await postMany(silent.url, 1)
  const { _id, ...order } = (await silent.db.collection('orders').findOne({}))!
  t.ok(_id)
  await silent.db.collection('orders').insertMany(Array.from({ length: 2_999 }, () => ({ ...order })))
  const service = await startService(t, {}, namespace)
  await eventually(async () => await metric(service, 'relay_events_published_total') === 3_000, 60_000, 'all events')
  const transactions = await metric(service, 'kafka_transaction_duration_seconds_count')
  t.ok(transactions! <= 8, `${transactions} transactions`)
})

t.test('no stored order has to become an object to be published', async (t) => {
  const { url, db } = await startCounted(t)
  const { operationTime } = await db.command({ ping: 1 })
  const headers: Record<string, string>[] = [
    {},
    { 'idempotency-key': 'key-1' },
    { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00` }
  ]
  for (const each of headers) t.equal((await post(url, aNewOrder, each)).status, 201)
  t.equal((await post(url, { ...aNewOrder, userId: 'Zoë "😀"\n' })).status, 201)
  const stream = await openOrderStream({
    db,
    collection: 'orders',
    checkpoint: { operationTime: { t: operationTime.t, i: operationTime.i }, at: '' },
    batchSize: 100
  })
  t.teardown(() => stream.close())
  const events: Buffer[] = []
  await eventually(async () => {
    events.push(...(await stream.next(100)).events)
    return events.length === headers.length + 1
  })
  t.ok(recordsOf(events, () => {}).every((record) => 'encoded' in record))
})
