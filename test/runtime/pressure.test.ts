import { Agent } from 'node:http'
import { ObjectId } from 'mongodb'
import t from 'tap'
import { oldGenerationOf } from '../../src/runtime/heap.ts'
import { connectMongo, forkService, send } from '../support/faults.ts'
import {
  aNewOrder,
  databaseUrl,
  eventually,
  metric,
  newNamespace,
  parts,
  post,
  request,
  startService
} from '../helper.ts'

function blockEventLoop (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

t.test('an event loop that lags makes the API refuse, and the operations listener never', async (t) => {
  const service = await startService(t, { EVENT_LOOP_DELAY_MS_MAX: 20 })
  const { body: { _id } } = await post(service.url)
  await eventually(() => {
    blockEventLoop(100)
    return service.api.isUnderPressure()
  }, 10_000, 'pressure')
  const { statusCode, headers, body } = await service.api.inject({ method: 'POST', url: '/orders', payload: aNewOrder })
  t.match({ statusCode, type: headers['content-type'], retry: headers['retry-after'], code: JSON.parse(body).code },
    { statusCode: 503, type: 'application/problem+json', retry: /^[12]$/, code: 'OVERLOADED' })
  t.equal((await service.operations.inject('/livez')).statusCode, 200)
  t.equal(await metric(service, 'requests_shed_total{reason="event-loop"}'), 1)

  await eventually(() => !service.api.isUnderPressure(), 10_000, 'the end of the pressure')
  t.equal((await request(`${service.url}/orders/${_id}`)).status, 200)
})

t.test('0 is no limit', async (t) => {
  const service = await startService(t, { EVENT_LOOP_DELAY_MS_MAX: 0 })
  blockEventLoop(1_500)
  t.equal((await post(service.url)).status, 201)
  t.notOk(service.api.isUnderPressure())
})

t.test(
  'a cache that may be larger than the heap is bounded by it, and neither ends the process nor makes it refuse for ever',
  async (t) => {
    const namespace = newNamespace()
    const orders = (await connectMongo(t, parts.mongoUrl)).db(namespace).collection('orders')
    const documents = Array.from({ length: 15_000 }, () => ({
      _id: new ObjectId(),
      userId: 'u'.repeat(8_000),
      products: [],
      createdAt: new Date(),
      updatedAt: new Date()
    }))
    await orders.insertMany(documents)
    const settings = {
      MONGO_URL: databaseUrl(namespace),
      REDIS_URL: 'off',
      KAFKA_BROKERS: 'off',
      CACHE_BYTES_MAX: 500_000_000
    }
    const service = await forkService(t, { ...settings, NODE_OPTIONS: '--max-old-space-size=100' } as object, namespace)
    const warning = service.log.find(({ msg }) => /^CACHE_BYTES_MAX/.test(msg)) as unknown as { cacheBytesMax: number }
    t.ok(warning.cacheBytesMax > 10_000_000 && warning.cacheBytesMax < 60_000_000, `${warning.cacheBytesMax}`)
    const agent = new Agent({ keepAlive: true, maxSockets: 32 })
    t.teardown(() => agent.destroy())
    const ids = documents.values()
    await Promise.all(
      Array.from({ length: 32 }, async () => {
        for (const { _id } of ids) {
          const { status } = await send(agent, 'GET', `${service.url}/${_id}`)
          if (![200, 503].includes(status)) t.fail(`status ${status}`)
        }
      })
    )
    await eventually(
      async () => (await send(agent, 'GET', `${service.url}/${documents[0]!._id}`)).status === 200,
      20_000,
      'an order'
    )
    t.equal((await post(service.url)).status, 201)
  }
)

t.test('memory that runs short takes the cache before anything is refused', async (t) => {
  const service = await startService(t, { REDIS_URL: 'off', KAFKA_BROKERS: 'off' })
  const { body: { _id } } = await post(service.url)
  await request(`${service.url}/${_id}`)
  const hits = 'cache_requests_total{tier="process",result="hit"}'
  const before = await metric(service, hits)
  service.api.reads.clearCache()
  t.equal((await request(`${service.url}/${_id}`)).status, 200)
  t.equal(await metric(service, hits), before, 'from MongoDB again')
})

t.test('what the old generation may have follows from the heap and the flags of this Node', async (t) => {
  const mib = 1_048_576
  t.equal(oldGenerationOf(640 * mib, '--max-old-space-size=256 --max-semi-space-size=128'), 256 * mib)
  t.equal(oldGenerationOf(640 * mib, '--max_semi_space_size 64 --max-semi-space-size=128'), 256 * mib)
  t.equal(oldGenerationOf(4_000 * mib, '--max-semi-space-size=0'), oldGenerationOf(4_000 * mib, ''))
  t.ok(oldGenerationOf(4_000 * mib, '') > 3_700 * mib)
})
