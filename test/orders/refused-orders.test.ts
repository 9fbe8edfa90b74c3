import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { connectMongo, failCommand, forkService, startOwnPart } from '../support/faults.ts'
import {
  aNewOrder,
  databaseUrl,
  eventually,
  metric,
  newNamespace,
  post,
  startService,
  type RunningService
} from '../helper.ts'

const mongo = await startOwnPart(t, 'mongo')
const client = await connectMongo(t, mongo.url)

async function start (t: Test, options = ''): Promise<RunningService> {
  const namespace = newNamespace()
  const url = new URL(databaseUrl(namespace, mongo.url))
  for (const [name, value] of new URLSearchParams(options)) url.searchParams.set(name, value)
  return await startService(t, { MONGO_URL: url.href, KAFKA_BROKERS: 'off', REDIS_URL: 'off' }, namespace)
}

/** How many inserts mongod gets meanwhile, as its profiler sees it. */
async function countInserts (namespace: string, work: () => Promise<void>): Promise<number> {
  const database = client.db(namespace)
  const count = () => database.collection('system.profile').countDocuments({ op: 'insert', ns: `${namespace}.orders` })
  const before = await count()
  await database.command({ profile: 2 })
  await work()
  await database.command({ profile: 0 })
  return await count() - before
}

t.test(
  'an order that a foreign unique index refuses is answered at once, with a line that names the index and no order',
  async (t) => {
    const namespace = newNamespace()
    const service = await forkService(
      t,
      { MONGO_URL: databaseUrl(namespace, mongo.url), KAFKA_BROKERS: 'off', REDIS_URL: 'off' },
      namespace
    )
    const collection = client.db(namespace).collection('orders')
    const keys: Record<string, 1>[] = [{ orderNumber: 1 }, { userId: 1 }, { userId: 1, 'products._id': 1 }]
    for (const key of keys) {
      await collection.deleteMany({})
      const index = await collection.createIndex(key, { unique: true })
      for (const headers of [[], ['idempotency-key']] as const) {
        const keyed = () => Object.fromEntries(headers.map((name) => [name, randomUUID()]))
        await post(service.url, aNewOrder, keyed()) // refused too where there is one already
        await eventually(() => service.log.length > 0)
        const lines = service.log.length
        const inserts = await countInserts(namespace, async () => {
          const { status, body } = await post(service.url, aNewOrder, keyed())
          t.match({ status, body }, { status: 500, body: { code: 'INTERNAL' } })
        })
        t.equal(inserts, 1, `one insert, ${index}`)
        const line = await eventually(() => service.log.slice(lines).find(({ level }) => level === 50))
        t.match(line, {
          level: 50,
          err: { message: new RegExp(`the unique index ${index} of the collection is not the service's own`) }
        })
      }
      await collection.dropIndex(index)
    }
    t.notMatch(JSON.stringify(service.log), /user-1|product-1/)
  }
)

t.test('an insert that is forbidden stores nothing and says so, and no order gets into the log', async (t) => {
  const namespace = newNamespace()
  const service = await forkService(
    t,
    { MONGO_URL: databaseUrl(namespace, mongo.url), KAFKA_BROKERS: 'off', REDIS_URL: 'off' },
    namespace
  )
  await failCommand(t, client, ['insert'], { errorCode: 13 }, { times: 1 })
  const { status, body } = await post(service.url)
  t.match({ status, body }, { status: 503, body: { code: 'NOT_STORED' } })
  const line = await eventually(() =>
    service.log.find(({ msg }) => msg === 'MongoDB did not confirm a batch of orders')
  )
  t.match(line, { reason: 'Unauthorized (13)' })
})

t.test('a key is found whatever readPreference MONGO_URL has', async (t) => {
  for (const preference of ['secondary', 'secondaryPreferred', 'nearest']) {
    const service = await start(t, `readPreference=${preference}`)
    const headers = { 'idempotency-key': randomUUID() }
    const first = await post(service.url, aNewOrder, headers)
    t.equal(first.status, 201, preference)
    t.equal((await post(service.url, aNewOrder, headers)).text, first.text)
    t.equal((await fetch(`${service.url}/${first.body._id}`)).status, 200)
  }
})

t.test('a key whose time is over is a 503 while MongoDB fails to free it', async (t) => {
  const service = await start(t)
  const headers = { 'idempotency-key': randomUUID() }
  await post(service.url, aNewOrder, headers)
  await client
    .db(service.namespace)
    .collection('orders')
    .updateOne({}, { $set: { createdAt: new Date(Date.now() - 25 * 3_600_000) } })
  await failCommand(t, client, ['update'], { closeConnection: true }, { times: 2 })
  const { status, body, headers: { get: _, ...rest } } = await post(service.url, aNewOrder, headers)
  t.match({ status, body, rest }, { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
  t.equal((await post(service.url, aNewOrder, headers)).status, 201)
})

t.test('a request that waits for an order with the same key is in flight', async (t) => {
  const service = await start(t)
  const headers = { 'idempotency-key': randomUUID() }
  await post(service.url, aNewOrder, headers)
  await failCommand(t, client, ['find'], { blockConnection: true, blockTimeMS: 1_500 }, 'alwaysOn')
  const again = Promise.all(Array.from({ length: 5 }, () => post(service.url, aNewOrder, headers)))
  await eventually(() => service.api.orders.inFlight === 5, 5_000, 'five in flight')
  await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'off' })
  t.strictSame((await again).map(({ status }) => status), [201, 201, 201, 201, 201])
  t.equal(await metric(service, 'orders_in_flight'), 0)
})

t.test('what was never sent, for want of a primary, is known not to be stored', async (t) => {
  const own = await startOwnPart(t, 'mongo')
  const namespace = newNamespace()
  const service = await startService(
    t,
    { MONGO_URL: databaseUrl(namespace, own.url), KAFKA_BROKERS: 'off', REDIS_URL: 'off' },
    namespace
  )
  t.equal((await post(service.url)).status, 201)
  await own.kill()
  await eventually(async () => (await post(service.url)).status === 503) // whichever met the death itself
  const answers = await Promise.all(Array.from({ length: 20 }, () => post(service.url)))
  t.strictSame([...new Set(answers.map(({ status, body }) => `${status} ${body.code}`))], ['503 NOT_STORED'])
  await own.start()
})
