import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { aNewOrder, collectEvents, metric, post, startService, type Answer } from '../helper.ts'

const TRIES_MAX = 20

const other = { ...aNewOrder, products: [{ _id: 'product-9', quantity: 9 }] }

t.test('an Idempotency-Key', async (t) => {
  const service = await startService(t)
  const send = (key: string, body: unknown = aNewOrder, path = '/orders') =>
    post(service.url + path, body, { 'idempotency-key': key })
  const stored = () => service.db.collection('orders').countDocuments()

  await t.test('that came before gets the same answer again, and nothing is stored', async (t) => {
    const key = randomUUID()
    const first = await send(key)
    t.equal(first.status, 201)
    t.equal(first.headers.get('idempotent-replayed'), null)
    const before = await stored()
    const again = await send(key)
    t.equal(again.status, 201)
    t.equal(again.text, first.text)
    t.equal(again.headers.get('location'), first.headers.get('location'))
    t.equal(again.headers.get('idempotent-replayed'), 'true')
    t.equal(await stored(), before)
    t.equal(await metric(service, 'orders_replayed_total'), 1)
  })

  await t.test('is the same quoted and bare, and with the fields in another order', async (t) => {
    const key = randomUUID()
    const first = await send(`"${key}"`)
    const again = await send(
      key,
      JSON.stringify({
        products: aNewOrder.products.map(({ _id, quantity }) => ({ quantity, _id })),
        userId: aNewOrder.userId
      })
    )
    t.equal(again.headers.get('idempotent-replayed'), 'true')
    t.equal(again.text, first.text)
    t.equal((await send('"a \\"b\\" \\\\"')).text, (await send('a "b" \\')).text)
  })

  await t.test('with another order is 422', async (t) => {
    const key = randomUUID()
    await send(key)
    const { status, body } = await send(key, other)
    t.equal(status, 422)
    t.equal(body.code, 'IDEMPOTENCY_KEY_REUSED')
  })

  await t.test('belongs to one user', async (t) => {
    const key = randomUUID()
    const first = await send(key)
    const second = await send(key, { ...aNewOrder, userId: 'user-2' })
    t.equal(second.status, 201)
    t.not(second.body._id, first.body._id)
  })

  await t.test('is not used up by an attempt that failed', async (t) => {
    const key = randomUUID()
    t.equal((await send(key, { ...aNewOrder, products: [] })).status, 400)
    const { status, headers } = await send(key)
    t.equal(status, 201)
    t.equal(headers.get('idempotent-replayed'), null)
  })

  await t.test('is free again after its time, and the order of then stays', async (t) => {
    const key = randomUUID()
    const { body: first } = await send(key)
    await service.db
      .collection('orders')
      .updateOne({ 'idempotency.key': key }, { $set: { createdAt: new Date(Date.now() - 25 * 3_600_000) } })
    const { status, body: second } = await send(key, other)
    t.equal(status, 201)
    t.not(second._id, first._id)
    t.equal(await service.db.collection('orders').countDocuments({ 'idempotency.key': key }), 1)
    t.equal((await fetch(`${service.url}/${first._id}`)).status, 200)
  })

  for (const [what, key] of [
    ['empty', ''],
    ['of 256 characters', 'k'.repeat(256)],
    ['not ASCII', 'schlüssel'],
    ['an open quote', '"abc'],
    ['with parameters', '"abc";a=1']
  ] as const) {
    await t.test(`is refused when it is ${what}`, async (t) => {
      const { status } = await send(key)
      t.equal(status, 400)
    })
  }
  t.equal((await send('k'.repeat(255))).status, 201)

  await t.test('never goes over the wire', async (t) => {
    const key = randomUUID()
    const { text } = await send(key)
    t.notOk(text.includes(key))
    t.notOk((await (await fetch(`${service.url}/`)).text()).includes(key))
  })
})

t.test('1,000 concurrent POSTs with one key over three replicas make one order and one event', async (t) => {
  const first = await startService(t)
  const replicas = [first, await startService(t, {}, first.namespace), await startService(t, {}, first.namespace)]
  const key = randomUUID()
  /** As a client does that keeps to Retry-After: a busy machine sheds some of so many. */
  async function insist (url: string): Promise<Answer> {
    for (let tries = 1; ; tries++) {
      const answer = await post(`${url}/orders`, aNewOrder, { 'idempotency-key': key })
      if ((answer.status !== 503 && answer.status !== 409) || tries === TRIES_MAX) return answer
      await delay(Number(answer.headers.get('retry-after')) * 1000)
    }
  }
  const answers = await Promise.all(Array.from({ length: 1_000 }, (_, index) => insist(replicas[index % 3]!.url)))
  t.strictSame([...new Set(answers.map(({ status }) => status))], [201])
  t.equal(new Set(answers.map(({ text }) => text)).size, 1)
  t.equal(answers.filter(({ headers }) => headers.get('idempotent-replayed') === null).length, 1)
  t.equal(await first.db.collection('orders').countDocuments(), 1)

  // Another order after it: when its event is there, a second one of the first would be there too.
  const { body: last } = await post(`${first.url}/orders`)
  const collected = await collectEvents(t, first.namespace)
  const events = await collected.forOrders([answers[0]!.body._id, last._id])
  t.equal(events.length, 2)
})

t.test('concurrent orders with one key: one wins, the others are 422', async (t) => {
  const service = await startService(t)
  const key = randomUUID()
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, quantity) =>
      post(
        `${service.url}/orders`,
        { userId: 'user-1', products: [{ _id: 'p', quantity: quantity + 1 }] },
        { 'idempotency-key': key }
      )
    )
  )
  t.equal(answers.filter(({ status }) => status === 201).length, 1)
  t.equal(answers.filter(({ status }) => status === 422).length, 49)
  t.equal(await service.db.collection('orders').countDocuments(), 1)
})
