import DataLoader from 'dataloader'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createOrdersClient, problemOf, type Order, type OrdersClientOptions } from '../../client/src/index.ts'
import { aNewOrder, startService } from '../helper.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off', ORDER_INDEXES: 'user' })
const UNKNOWN = 'f'.repeat(24)

/** Counts what it lets pass to the service, and answers what it is told to instead. */
async function startProxy (t: Test, instead: (n: number) => RequestListener | undefined = () => undefined) {
  const seen: { method: string, url: string, key: string | undefined }[] = []
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray())
    seen.push({ method: request.method!, url: request.url!, key: request.headers['idempotency-key'] as string })
    const { host, connection, 'content-length': _, ...headers } = request.headers
    const pass = async (): Promise<Response> => await fetch(service.url + request.url, {
      method: request.method!,
      headers: headers as Record<string, string>,
      ...(body.length > 0 && { body })
    })
    const other = instead(seen.length)
    if (other === undefined) {
      const answer = await pass()
      response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(Buffer.from(await answer.arrayBuffer()))
    } else {
      if (body.length > 0) await pass() // it is stored, and the answer is lost
      other(request, response)
    }
  })
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { seen, client: (options: OrdersClientOptions = {}) => createOrdersClient({ baseURL: url, ...options }) }
}

const problem = (status: number, code: string, headers = {}): RequestListener => (_request, response) =>
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers })
    .end(JSON.stringify({ status, code }))
const hangUp: RequestListener = (request) => request.socket.destroy()
const silence: RequestListener = () => {}
const count = async (userId: string): Promise<number> => await service.db.collection('orders').countDocuments({ userId })

t.test('an order is stored once, however often it has to be sent', async (t) => {
  for (const [name, fault] of [
    ['no answer', hangUp],
    ['no answer in time', silence],
    ['an overload', problem(503, 'OVERLOADED', { 'retry-after': '0' })],
    ['an unknown outcome', problem(503, 'OUTCOME_UNKNOWN')],
    ['a key under way', problem(409, 'IDEMPOTENCY_KEY_IN_USE')],
    ['a limit', problem(429, 'TOO_MANY')]
  ] as const) {
    const { seen, client } = await startProxy(t, (n) => n <= 2 ? fault : undefined)
    const userId = `user of ${name}`
    const order = await client({ timeout: 2_000 }).create({ ...aNewOrder, userId })
    t.equal(order.userId, userId)
    t.equal(await count(userId), 1, name)
    t.equal(seen.length, 3, name)
    t.equal(new Set(seen.map(({ key }) => key)).size, 1, 'each attempt has the key of the call')
  }
})

t.test('each call has a key of its own, unless it is given one', async (t) => {
  const { seen, client } = await startProxy(t)
  const orders = client()
  const [one, two] = [await orders.create(aNewOrder), await orders.create(aNewOrder)]
  t.not(one._id, two._id)
  t.match(seen[0]!.key, /^[0-9a-f-]{36}$/)
  t.not(seen[0]!.key, seen[1]!.key)
  const again = [1, 2].map(() => orders.create(aNewOrder, { idempotencyKey: 'checkout 77' }))
  t.strictSame(await again[0], await again[1])
})

t.test('what a repetition cannot mend is not repeated, and says what is wrong', async (t) => {
  const { seen, client } = await startProxy(t)
  const orders = client()
  for (const [call, status, code] of [
    [() => orders.create({ userId: '', products: [] }), 400, 'VALIDATION_FAILED'],
    [() => orders.get('no id'), 400, 'VALIDATION_FAILED'],
    [() => orders.pages({ productId: 'p' }).next(), 400, 'FILTER_OFF']
  ] as const) {
    seen.length = 0
    const error = await call().then(() => undefined, (error) => error)
    t.equal(problemOf(error)?.code, code)
    t.equal(problemOf(error)?.status, status)
    t.equal(seen.length, 1)
  }
  const { seen: failing, client: clientOf } = await startProxy(t, () => problem(500, 'INTERNAL'))
  await t.rejects(clientOf().get(UNKNOWN), { message: /500/ })
  t.equal(failing.length, 1)
})

t.test('attempts and time have an end', async (t) => {
  const { seen, client } = await startProxy(t, () => hangUp)
  const error = await client({ retries: 2 }).get(UNKNOWN).then(() => undefined, (error) => error)
  t.equal(seen.length, 3)
  t.equal(problemOf(error), undefined)
  const hanging = await startProxy(t, () => silence)
  const ended = hanging.client({ timeout: 60_000 }).get(UNKNOWN, { signal: AbortSignal.timeout(200) })
  await t.rejects(ended, { code: 'ERR_CANCELED' })
  t.equal(hanging.seen.length, 1)
})

t.test('pages and their orders, in order and one at a time', async (t) => {
  const { seen, client } = await startProxy(t)
  const orders = client()
  const userId = 'user/of?pages&ö'
  const ids: string[] = []
  for (let n = 0; n < 5; n++) ids.push((await orders.create({ ...aNewOrder, userId }))._id)
  seen.length = 0
  const pages: string[][] = []
  for await (const page of orders.pages({ userId, limit: 2 })) pages.push(page.map(({ _id }) => _id))
  t.strictSame(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)])
  t.equal(seen.length, 3)
  const found: string[] = []
  for await (const { _id } of orders.list({ userId, limit: 2, order: 'desc' })) {
    if (found.push(_id) === 2) break
  }
  t.strictSame(found, ids.toReversed().slice(0, 2))
  t.equal(seen.length, 4, 'a page that nobody asks for is not fetched')
  for await (const page of orders.pages({ userId: 'nobody' })) t.fail(`no page, but ${page.length}`)
})

t.test('a hundred look-ups of a DataLoader are one request', async (t) => {
  const { seen, client } = await startProxy(t)
  const orders = client()
  const ids = (await Promise.all(Array.from({ length: 100 }, () => orders.create(aNewOrder)))).map(({ _id }) => _id)
  seen.length = 0
  const loader = new DataLoader<string, Order | null>((keys) => orders.many(keys), { maxBatchSize: 250 })
  const found = await Promise.all([...ids, UNKNOWN].map((id) => loader.load(id)))
  t.strictSame(found.map((order) => order?._id ?? null), [...ids, null])
  t.equal(seen.length, 1)
  seen.length = 0
  t.equal((await orders.many([...ids, ...ids, ...ids])).length, 300)
  t.equal(seen.length, 2, 'and more than 250 are two')
  t.strictSame(await orders.many([]), [])
})

t.test('one that is there, one that is not, and an envelope', async (t) => {
  const { client } = await startProxy(t)
  const order = await client().create(aNewOrder)
  t.strictSame(await client().get(order._id), order)
  t.equal(await client().get(UNKNOWN), undefined)
  const enveloped = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off', RESPONSE_ENVELOPE: 'result' })
  const orders = createOrdersClient({ baseURL: enveloped.url })
  const { _id } = await orders.create(aNewOrder)
  t.equal((await orders.get(_id))?._id, _id)
  t.equal((await orders.many([_id]))[0]?._id, _id)
  for await (const each of orders.list()) t.equal(each._id, _id)
})
