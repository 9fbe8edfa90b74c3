import t from 'tap'
import { eventually, metric, newNamespace, post, request, startService } from '../helper.ts'

const HARD_STRINGS = [
  '"',
  '\\',
  '\\"',
  '/',
  '\u0000',
  '\b\f\n\r\t',
  '\u001f',
  '\u007f',
  '\u0080',
  '\u2028\u2029',
  '\ufeff',
  '\ufffd',
  '\uffff',
  'é',
  'e\u0301',
  '日本語',
  '😀',
  '👩‍👩‍👧‍👦',
  '😀'.repeat(128),
  '\u0001'.repeat(128),
  '\u007f'.repeat(128),
  '\\u0041',
  '</script>',
  '__proto__',
  '$1',
  ' ',
  "'"
]

const order = {
  userId: '"\\\u0000😀\u2028',
  products: HARD_STRINGS.map((_id, index) => ({ _id, quantity: index + 1 }))
}
const namespace = newNamespace()
const hits = (tier: string): string => `cache_requests_total{tier="${tier}",result="hit"}`

t.test('an order has the bytes of its 201 wherever it is read from', async (t) => {
  const writer = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const created = await post(writer.url, order)
  t.equal(created.status, 201)
  const { _id, createdAt, updatedAt } = created.body
  t.equal(created.text, JSON.stringify({ _id, ...order, createdAt, updatedAt }), 'which are those of JSON.stringify')

  t.equal((await request(`${writer.url}/${_id}`)).text, created.text, 'the process cache')
  t.equal(await metric(writer, hits('process')), 1)

  const reader = await startService(t, { KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0 }, namespace)
  await eventually(() => reader.api.redisTier?.usable, 10_000, 'a usable Redis')
  t.equal((await request(`${reader.url}/${_id}`)).text, created.text, 'MongoDB')
  t.equal(await metric(reader, hits('mongodb')), 1)

  await eventually(() => reader.api.redis.exists(reader.api.redisTier!.keyOf(_id)), 10_000, 'the order in Redis')
  t.equal((await request(`${reader.url}/${_id}`)).text, created.text, 'Redis')
  t.equal(await metric(reader, hits('redis')), 1)

  t.equal((await request(reader.url)).text, `[${created.text}]`, 'the list')
})

t.test('each hard string is a userId that comes back as it was sent', async (t) => {
  const { url } = await startService(t, { KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0, REDIS_URL: 'off' })
  const created = await Promise.all(
    HARD_STRINGS.map((userId) => post(url, { userId, products: [{ _id: userId, quantity: 1 }] }))
  )
  for (const [index, userId] of HARD_STRINGS.entries()) {
    const { status, body, text } = created[index]!
    t.equal(status, 201)
    t.equal(body.userId, userId)
    t.equal((await request(`${url}/${body._id}`)).text, text)
  }
  const texts = created.map(({ text }) => text).sort((a, b) => a.slice(0, 40) < b.slice(0, 40) ? -1 : 1)
  t.equal((await request(url)).text, `[${texts.join(',')}]`)
})
