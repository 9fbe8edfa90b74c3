import t from 'tap'
import { createOrdersClient, problemOf, type PublishedOrder } from '../../client/src/index.ts'
import { aNewOrder, eventually, metric, newNamespace, startService } from '../helper.ts'
import { leads } from '../support/faults.ts'

const namespace = newNamespace()
const one = await startService(t, {}, namespace)
await eventually(() => leads(one), 30_000, 'a leader')
const orders = createOrdersClient({ baseURL: one.url })

t.test('orders come as they are published, over the end of a service', async (t) => {
  const second = await startService(t, {}, namespace)
  const client = createOrdersClient({ baseURL: second.url })
  const ending = new AbortController()
  const got: PublishedOrder[] = []
  const listening = (async () => {
    for await (const published of client.listen({}, { signal: ending.signal })) got.push(published)
  })()
  await eventually(() => second.api.feed?.count === 1, 10_000, 'the stream')
  const before = await orders.create(aNewOrder)
  await eventually(() => got.length === 1, 10_000, 'the order')
  t.strictSame(got[0]!.order, before)
  await second.close()
  const meanwhile = [await orders.create(aNewOrder), await orders.create({ ...aNewOrder, userId: 'Jörg' })]
  client.http.defaults.baseURL = one.url
  await eventually(() => got.length === 3, 20_000, 'what came meanwhile')
  t.strictSame(got.slice(1).map(({ order }) => order._id).sort(), meanwhile.map(({ _id }) => _id).sort())
  ending.abort()
  await listening
  await eventually(() => one.api.feed!.count === 0, 10_000, 'its end')

  const first = got[0]!.id
  const filtered = orders.listen({ after: first, userId: 'Jörg' })
  t.strictSame((await filtered.next()).value?.order, meanwhile[1])
  await filtered.return()
  await eventually(() => one.api.feed!.count === 0, 10_000, 'its end')
})

t.test('a client that has received no order yet loses none when the service ends', async (t) => {
  const second = await startService(t, {}, namespace)
  const client = createOrdersClient({ baseURL: second.url })
  const listening = client.listen()
  const next = listening.next()
  await eventually(() => second.api.feed?.count === 1, 10_000, 'the stream')
  await second.close()
  const { _id } = await orders.create(aNewOrder)
  client.http.defaults.baseURL = one.url
  t.equal((await next).value?.order._id, _id)
  await listening.return()
})

t.test('what can\'t be listened to rejects with the reason', async (t) => {
  const error = await orders.listen({ after: 'a' }).next().catch((error: unknown) => error)
  t.equal(problemOf(error)?.code, 'FEED_POSITION_MALFORMED')
  const off = await startService(t, { FEED_CLIENTS_MAX: 0 }, namespace)
  const refused = await createOrdersClient({ baseURL: off.url }).listen().next().catch((error: unknown) => error)
  t.equal(problemOf(refused)?.code, 'FEED_OFF')
})

t.test('a service that is away for now is asked again', async (t) => {
  const full = await startService(t, { FEED_CLIENTS_MAX: 1 }, namespace)
  const client = createOrdersClient({ baseURL: full.url })
  const ending = new AbortController()
  const first = client.listen({}, { signal: ending.signal }).next()
  await eventually(() => full.api.feed?.count === 1, 10_000, 'the stream')
  const waiting = client.listen()
  const next = waiting.next()
  await eventually(() => metric(full, 'requests_shed_total{reason="feed"}'), 10_000, 'a refusal')
  ending.abort()
  t.equal((await first).done, true)
  const created: string[] = []
  let got: string | undefined
  next.then(({ value }) => { got = value?.order._id }, t.error)
  await eventually(async () => {
    created.push((await orders.create(aNewOrder))._id) // until it listens
    return got
  }, 20_000, 'an order')
  t.ok(created.includes(got!))
  await waiting.return()
})
