import t from 'tap'
import { ObjectId } from 'mongodb'
import { eventually, post, request, startService } from '../helper.ts'

const JSON_TYPE = 'application/json; charset=utf-8'
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

const service = await startService(t, { KAFKA_BROKERS: 'off' })

t.test('the list of no orders is []', async (t) => {
  t.equal((await request(`${service.url}/orders`)).text, '[]')
})

t.test('the three routes answer at / and under /orders', async (t) => {
  for (const [collection, location] of [['/', '/'], ['/orders', '/orders/'], ['/orders/', '/orders/']] as const) {
    const created = await post(service.url + collection)
    t.equal(created.status, 201, `POST ${collection}`)
    t.equal(created.headers.get('location'), location + created.body._id, `Location after POST ${collection}`)
    t.equal(created.headers.get('content-type'), JSON_TYPE)

    const found = await request(service.url + created.headers.get('location'))
    t.equal(found.status, 200, 'Location leads to the order')
    t.equal(found.headers.get('content-type'), JSON_TYPE)
    t.strictSame(found.body, created.body)

    const list = await request(service.url + collection)
    t.equal(list.status, 200, `GET ${collection}`)
    t.equal(list.headers.get('content-type'), JSON_TYPE)
    t.strictSame((list.body as unknown as unknown[]).at(-1), created.body, 'the list has it')
  }
})

t.test('an order is exactly _id, userId, products, createdAt, updatedAt, in this sequence', async (t) => {
  const sent = { products: [{ quantity: 2, _id: 'product-1' }], userId: 'user-1' }
  const before = Date.now()
  const { body, text } = await post(service.url, sent)
  const { _id, createdAt, updatedAt } = body
  t.equal(
    text,
    JSON.stringify({ _id, userId: 'user-1', products: [{ _id: 'product-1', quantity: 2 }], createdAt, updatedAt })
  )
  t.match(_id, /^[0-9a-f]{24}$/)
  t.match(createdAt, TIME)
  t.equal(updatedAt, createdAt)
  t.ok(Date.parse(createdAt) >= before && Date.parse(createdAt) <= Date.now(), 'createdAt is the time of the request')
  t.equal(
    new ObjectId(_id).getTimestamp().getTime(),
    Math.floor(Date.parse(createdAt) / 1000) * 1000,
    'in the second that the _id says'
  )
})

t.test('the list is oldest first', async (t) => {
  const older = ObjectId.createFromTime(1_000_000_000)
  await service.db.collection('orders').insertOne({ _id: older, userId: 'user-0', products: [] })
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await post(service.url)).body._id)
  const listed = ((await request(service.url)).body as unknown as { _id: string }[]).map(({ _id }) => _id)
  t.equal(listed[0], older.toHexString())
  t.strictSame(listed.slice(-5), ids)
})

t.test('an id in upper case is the same order, under one key in Redis', async (t) => {
  const id = 'abcdefabcdefabcdefabcdef'
  await service.db.collection('orders').insertOne({ _id: new ObjectId(id), userId: 'user-1', products: [] })
  await eventually(() => service.api.redisTier?.usable, 10_000, 'a usable Redis')
  const found = await Promise.all(
    [id.toUpperCase(), 'aBcDeFaBcDeFaBcDeFaBcDeF', id].map((spelling) => request(`${service.url}/${spelling}`))
  )
  for (const { status, text } of found) {
    t.equal(status, 200)
    t.equal(text, found[0]!.text)
  }
  t.equal(found[0]!.body._id, id)
  const keys = await eventually(async () => {
    const keys = await service.api.redis.keys(`${service.namespace}:*`)
    return keys.length > 1 ? keys : undefined
  })
  t.strictSame(keys.filter((key) => !key.endsWith(':probe')), [service.api.redisTier!.keyOf(id)])
  t.equal(
    (await request(`${service.url}/ABCDEFABCDEFABCDEFABCDE0`)).body.detail,
    'There is no order abcdefabcdefabcdefabcde0.'
  )
})

t.test('HEAD of one order has the head of its GET; of the list it opens no cursor', async (t) => {
  const { body: { _id } } = await post(service.url)
  const get = await request(`${service.url}/${_id}`)
  const head = await request(`${service.url}/${_id}`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.text, '')
  for (const name of ['content-type', 'content-length']) t.equal(head.headers.get(name), get.headers.get(name), name)
  t.equal((await request(`${service.url}/${'0'.repeat(24)}`, { method: 'HEAD' })).status, 404)

  await service.db.command({ profile: 2 })
  const finds = async (): Promise<number> =>
    await service.db.collection('system.profile').countDocuments({ 'command.find': 'orders' })
  for (const path of ['/', '/orders', '/orders/']) {
    const { status, text, headers } = await request(service.url + path, { method: 'HEAD' })
    t.equal(status, 200, `HEAD ${path}`)
    t.equal(text, '')
    t.equal(headers.get('content-type'), JSON_TYPE)
  }
  t.equal(await finds(), 0)
  await request(service.url)
  t.equal(await finds(), 1, 'while GET opens one')
})

t.test('the API has no other routes', async (t) => {
  const { body: { _id } } = await post(service.url)
  for (const [method, path, status] of [
    ['PUT', `/${_id}`, 405],
    ['PATCH', `/${_id}`, 405],
    ['DELETE', `/${_id}`, 405],
    ['POST', `/${_id}`, 405],
    ['PUT', '/', 405],
    ['DELETE', '/orders', 405],
    ['GET', `/orders/${_id}/products`, 404],
    ['GET', `/${_id}/`, 404],
    ['GET', '/metrics', 400],
    ['GET', '/livez', 400],
    ['GET', '/readyz', 400] // which are no ids of orders
  ] as const) {
    t.equal((await request(service.url + path, { method })).status, status, `${method} ${path}`)
  }
})
