import t from 'tap'
import { aNewOrder, post, request, startService } from '../helper.ts'

const without = { KAFKA_BROKERS: 'off', REDIS_URL: 'off' }
const service = await startService(t, { ...without, ETAG: 'on' })
const url = `${service.url}/orders`
const order = await post(url, { ...aNewOrder, userId: 'Jörg' })
const path = `${url}/${order.body._id}`

t.test('without the setting there is none', async (t) => {
  const plain = await startService(t, without)
  const { body } = await post(plain.url)
  const { status, headers } = await request(`${plain.url}/${body._id}`, { headers: { 'if-none-match': '*' } })
  t.equal(status, 200)
  t.equal(headers.get('etag'), null)
})

t.test('who has the order already gets no body', async (t) => {
  const first = await request(path)
  const tag = first.headers.get('etag')!
  t.match(tag, /^W\/"[0-9a-z]+-[0-9a-z]+"$/)
  t.equal(first.headers.get('cache-control'), 'private, no-cache')
  t.equal((await request(path)).headers.get('etag'), tag)
  const opaque = tag.slice(2)
  for (const known of [tag, opaque, '*', ` ${tag} `, `"other", ${tag}`, `W/"other",${opaque},"more"`, `"a,b",${tag}`]) {
    for (const method of ['GET', 'HEAD']) {
      const { status, headers, text } = await request(path, { method, headers: { 'if-none-match': known } })
      t.equal(status, 304, `${method} ${known}`)
      t.equal(text, '')
      t.equal(headers.get('etag'), tag)
      t.equal(headers.get('cache-control'), 'private, no-cache')
      t.equal(headers.get('content-type'), null)
      t.ok(headers.get('x-request-id'))
    }
  }
  for (const other of ['"other"', '', tag.slice(0, -1), tag.slice(3, -1), '"*"', opaque.toUpperCase()]) {
    const { status, text } = await request(path, { headers: { 'if-none-match': other } })
    t.equal(status, 200, other)
    t.equal(text, first.text)
  }
})

t.test('an order that was fixed by hand has another one', async (t) => {
  const tag = (await request(path)).headers.get('etag')!
  const tags = new Set([tag])
  for (const userId of ['Jörh', 'Jörg2', 'user']) {
    await service.db.collection('orders').updateOne({}, { $set: { userId } })
    service.api.reads.forgetAll()
    const { status, headers, body } = await request(path, { headers: { 'if-none-match': tag } })
    t.equal(status, 200)
    t.equal(body.userId, userId)
    tags.add(headers.get('etag')!)
  }
  t.equal(tags.size, 4)
})

t.test('what is not there, or is stored, is answered as ever', async (t) => {
  const missing = await request(`${url}/${'f'.repeat(24)}`, { headers: { 'if-none-match': '*' } })
  t.equal(missing.status, 404)
  t.equal(missing.headers.get('etag'), null)
  const stored = await post(url, aNewOrder, { 'if-none-match': '*' })
  t.equal(stored.status, 201)
  t.equal(stored.headers.get('etag'), null)
})
