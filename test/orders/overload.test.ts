import { connect } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { connectMongo, failCommand, startOwnPart } from '../support/faults.ts'
import {
  aNewOrder,
  databaseUrl,
  eventually,
  metric,
  newNamespace,
  post,
  request,
  startService,
  type Answer,
  type RunningService
} from '../helper.ts'

const mongo = await startOwnPart(t, 'mongo')
const client = await connectMongo(t, mongo.url)

async function start (t: Test, settings: Partial<Settings>): Promise<RunningService> {
  const namespace = newNamespace()
  return await startService(t, { MONGO_URL: databaseUrl(namespace, mongo.url), ...settings }, namespace)
}

function pauseMongo (t: Test): void {
  mongo.pause()
  t.teardown(() => mongo.resume())
}

function assertRefused (t: Test, { status, headers, body }: Answer): void {
  t.match({ status, type: headers.get('content-type'), retry: headers.get('retry-after'), code: body.code },
    { status: 503, type: 'application/problem+json', retry: /^[12]$/, code: 'OVERLOADED' })
}

t.test('orders above the limit are refused at once, and those that wait are stored', async (t) => {
  const service = await start(t, { POSTS_MAX: 50 })
  const { body: { _id } } = await post(service.url)
  pauseMongo(t)
  const waiting = Array.from({ length: 50 }, () => post(service.url))
  await eventually(() => service.api.orders.inFlight === 50, 5_000, '50 orders in flight')

  const key = { 'idempotency-key': 'again' }
  assertRefused(t, await post(service.url, aNewOrder, key))
  assertRefused(t, await post(`${service.url}/orders`))
  t.equal((await request(`${service.url}/orders/${_id}`)).status, 200, 'orders from the cache are served')
  t.equal((await request(`${service.operationsUrl}/livez`)).status, 200, 'and so is who asks whether the service lives')
  t.equal(service.api.orders.inFlight, 50, 'all this while they wait')

  mongo.resume()
  t.strictSame([...new Set((await Promise.all(waiting)).map(({ status }) => status))], [201])
  t.equal(await metric(service, 'requests_shed_total{reason="posts"}'), 2)
  t.equal(await metric(service, 'orders_in_flight'), 0)
  const again = await post(service.url, aNewOrder, key)
  t.equal(again.status, 201)
  t.equal(again.headers.get('idempotent-replayed'), null, 'what was refused had claimed no key')
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), 52)
})

t.test('an order is refused before its body is read', async (t) => {
  const service = await start(t, { POSTS_MAX: 1 })
  pauseMongo(t)
  const waiting = post(service.url)
  await eventually(() => service.api.orders.inFlight === 1, 5_000, 'an order in flight')
  const { hostname, port } = new URL(service.url)
  const socket = connect(Number(port), hostname)
  t.teardown(() => socket.destroy())
  socket.write('POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n')
  const [answer] = await once(socket, 'data')
  t.match(String(answer), /^HTTP\/1.1 503 .*"code":"OVERLOADED"/s)
  mongo.resume()
  t.equal((await waiting).status, 201)
})

t.test('when orders are stored slowly, fewer may be in flight than the limit', async (t) => {
  const service = await start(t, { POST_WAIT_MS_MAX: 1, POSTS_MAX: 5_000 })
  await failCommand(t, client, ['insert'], { blockConnection: true, blockTimeMS: 300 }, 'alwaysOn')
  const answers = Array.from({ length: 1_500 }, () =>
    service.api.inject({ method: 'POST', url: '/', payload: aNewOrder })
  )
  await eventually(() => service.api.orders.inFlight > 256 && service.api.orders.inFlight < 1_500, 10_000, 'a pace')
  assertRefused(t, await post(service.url))
  const stored = (await Promise.all(answers)).filter(({ statusCode }) => statusCode === 201).length
  t.equal(stored, 1_500, 'what came before the pace was known is stored')
  t.equal((await post(service.url)).status, 201, 'and so is what comes afterwards')
})

t.test('lists above the limit are refused at once, and each that ends makes room for one', async (t) => {
  const service = await start(t, { LISTS_MAX: 2 })
  await post(service.url)
  pauseMongo(t)
  const waiting = [request(service.url), request(`${service.url}/orders`)]
  let refused: Answer
  await eventually(async () => {
    refused = await request(service.url, { signal: AbortSignal.timeout(200) }).catch(() => ({ status: 0 }) as Answer)
    return refused.status !== 0
  }, 5_000, 'an answer')
  assertRefused(t, refused!)
  mongo.resume()
  t.equal(await metric(service, 'requests_shed_total{reason="lists"}'), 1)
  for (const { status, body } of await Promise.all(waiting)) {
    t.match({ status, length: (body as unknown as unknown[]).length }, { status: 200, length: 1 })
  }
  for (let i = 0; i < 5; i++) t.equal((await request(service.url)).status, 200)
})
