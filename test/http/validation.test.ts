import t from 'tap'
import type { ProblemPlace } from '../../schemas/problem.ts'
import { aNewOrder, post, startService } from '../helper.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })

const line = { _id: 'product-1', quantity: 1 }
const withUserId = (userId: unknown): unknown => ({ ...aNewOrder, userId })
const withProducts = (products: unknown): unknown => ({ ...aNewOrder, products })
const withLine = (change: object): unknown => withProducts([line, { ...line, ...change }])
/** JSON text of an order whose second quantity is what no JSON.stringify writes. */
const withQuantity = (text: string): string =>
  `{"userId":"u","products":[{"_id":"p","quantity":1},{"_id":"p","quantity":${text}}]}`

const QUANTITY = '/products/1/quantity'
const REFUSED: [what: string, body: unknown, pointer: string][] = [
  ['a missing userId', { products: [line] }, '/userId'],
  ['an empty userId', withUserId(''), '/userId'],
  ['a userId of 129 characters', withUserId('a'.repeat(129)), '/userId'],
  ['a userId of 129 characters outside the BMP', withUserId('😀'.repeat(129)), '/userId'],
  ['a number as userId', withUserId(1), '/userId'],
  ['null as userId', withUserId(null), '/userId'],
  ['a boolean as userId', withUserId(true), '/userId'],
  ['an array as userId', withUserId(['user-1']), '/userId'],
  ['an object as userId', withUserId({ $ne: '' }), '/userId'],
  ['a lone high surrogate in userId', '{"userId":"a\\ud83d","products":[{"_id":"p","quantity":1}]}', '/userId'],
  ['a lone low surrogate in userId', '{"userId":"\\ude00a","products":[{"_id":"p","quantity":1}]}', '/userId'],
  ['surrogates in the wrong order', '{"userId":"\\ude00\\ud83d","products":[{"_id":"p","quantity":1}]}', '/userId'],
  ['missing products', { userId: 'user-1' }, '/products'],
  ['no products', withProducts([]), '/products'],
  ['1,001 products', withProducts(Array(1001).fill(line)), '/products'],
  ['an object as products', withProducts({ 0: line }), '/products'],
  ['a single line as products', withProducts(line), '/products'],
  ['a string as products', withProducts('product-1'), '/products'],
  ['null as products', withProducts(null), '/products'],
  ['a string as line', withProducts([line, 'product-1']), '/products/1'],
  ['null as line', withProducts([null]), '/products/0'],
  ['an array as line', withProducts([[]]), '/products/0'],
  ['a line without _id', withProducts([{ quantity: 1 }]), '/products/0/_id'],
  ['an empty product _id', withLine({ _id: '' }), '/products/1/_id'],
  ['a product _id of 129 characters', withLine({ _id: 'a'.repeat(129) }), '/products/1/_id'],
  ['a number as product _id', withLine({ _id: 7 }), '/products/1/_id'],
  ['null as product _id', withLine({ _id: null }), '/products/1/_id'],
  [
    'a lone surrogate in a product _id',
    '{"userId":"u","products":[{"_id":"\\udfff","quantity":1}]}',
    '/products/0/_id'
  ],
  ['a line without quantity', withProducts([{ _id: 'p' }]), '/products/0/quantity'],
  ['quantity 0', withLine({ quantity: 0 }), QUANTITY],
  ['quantity -1', withLine({ quantity: -1 }), QUANTITY],
  ['quantity 1.5', withLine({ quantity: 1.5 }), QUANTITY],
  ['quantity "2"', withLine({ quantity: '2' }), QUANTITY],
  ['quantity 1,000,001', withLine({ quantity: 1_000_001 }), QUANTITY],
  ['quantity null', withLine({ quantity: null }), QUANTITY],
  ['quantity true', withLine({ quantity: true }), QUANTITY],
  ['quantity [1]', withLine({ quantity: [1] }), QUANTITY],
  ['quantity 1e400, which is Infinity', withQuantity('1e400'), QUANTITY],
  ['quantity -1e400', withQuantity('-1e400'), QUANTITY],
  ['quantity -0', withQuantity('-0'), QUANTITY],
  ['an unknown field', { ...aNewOrder, total: 1 }, '/total'],
  ['an unknown field in a line', withLine({ price: 1 }), '/products/1/price'],
  ['an _id that the client chose', { ...aNewOrder, _id: 'f'.repeat(24) }, '/_id'],
  ['createdAt', { ...aNewOrder, createdAt: '2026-01-01T00:00:00.000Z' }, '/createdAt'],
  ['a field with ~ and / in its name', { ...aNewOrder, 'a~b/c~1': 1 }, '/a~0b~1c~01'],
  ['such a field in a line', withLine({ '/~': 1 }), '/products/1/~1~0'],
  ['a field with an empty name', { ...aNewOrder, '': 1 }, '/'],
  ['toString as a field', { ...aNewOrder, toString: 1 }, '/toString'],
  ['constructor as a field', { ...aNewOrder, constructor: { prototype: {} } }, '/constructor'],
  ['__proto__', '{"userId":"u","products":[{"_id":"p","quantity":1}],"__proto__":{"a":1}}', '/__proto__'],
  [
    '__proto__ with an escape',
    '{"userId":"u","products":[{"_id":"p","quantity":1}],"__pr\\u006fto__":{}}',
    '/__proto__'
  ],
  [
    '__proto__ in a line',
    '{"userId":"u","products":[{"_id":"p","quantity":1,"__proto__":null}]}',
    '/products/0/__proto__'
  ],
  ['a userId that only __proto__ has', '{"__proto__":{"userId":"u"},"products":[{"_id":"p","quantity":1}]}', '/userId'],
  ['an array', [aNewOrder], ''],
  ['null', 'null', ''],
  ['a string', '"order"', ''],
  ['a number', '1', ''],
  ['true', 'true', '']
]

t.test('what is wrong in a body is 400 with a JSON pointer to the place, and nothing is stored', async (t) => {
  for (const [what, sent, pointer] of REFUSED) {
    const { status, body } = await post(`${service.url}/orders`, sent)
    t.equal(status, 400, what)
    t.equal(body.code, 'VALIDATION_FAILED', what)
    t.strictSame((body.errors as ProblemPlace[] | undefined)?.map((place) => place.pointer), [pointer], what)
    t.equal(body.detail, body.errors?.[0]?.detail)
    t.equal(body.message, body.detail)
  }
  t.equal(await service.db.collection('orders').countDocuments(), 0)
})

const UNREADABLE: [what: string, body: string | Buffer, code: string][] = [
  ['an empty body', '', 'INVALID_JSON'],
  ['white space', ' \n', 'INVALID_JSON'],
  ['half an object', '{"userId":"user-1"', 'INVALID_JSON'],
  ['two objects', '{}{}', 'INVALID_JSON'],
  ['NaN', withQuantity('NaN'), 'INVALID_JSON'],
  ['a number with a leading zero', withQuantity('01'), 'INVALID_JSON'],
  ['a control character in a string', '{"userId":"\u0001"}', 'INVALID_JSON'],
  ['a Latin-1 byte', Buffer.from('{"userId":"\xe9","products":[{"_id":"p","quantity":1}]}', 'latin1'), 'NOT_UTF8'],
  [
    'half a UTF-8 sequence',
    Buffer.concat([Buffer.from('{"userId":"'), Buffer.from([0xf0, 0x9f, 0x98]), Buffer.from('"}')]),
    'NOT_UTF8'
  ],
  [
    'a surrogate as UTF-8',
    Buffer.concat([Buffer.from('{"userId":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]),
    'NOT_UTF8'
  ],
  ['UTF-16', Buffer.from(`\ufeff${JSON.stringify(aNewOrder)}`, 'utf16le'), 'NOT_UTF8']
]

t.test('a body that is not JSON in UTF-8 is 400, and nothing is stored', async (t) => {
  for (const [what, sent, code] of UNREADABLE) {
    const response = await fetch(`${service.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: sent as never
    })
    const problem = await response.json() as { code: string, errors: unknown[] }
    t.equal(response.status, 400, what)
    t.equal(problem.code, code, what)
    t.strictSame(problem.errors, [], what)
  }
  t.equal(await service.db.collection('orders').countDocuments(), 0)
})

const ACCEPTED: [what: string, body: { userId: string, products: { _id: string, quantity: number }[] }][] = [
  ['ids of one character', { userId: 'u', products: [{ _id: '1', quantity: 1 }] }],
  ['ids of one character outside the BMP', { userId: '😀', products: [{ _id: '𝒳', quantity: 1 }] }],
  ['ids of 128 characters', { userId: 'u'.repeat(128), products: [{ _id: 'p'.repeat(128), quantity: 1 }] }],
  [
    'ids of 128 characters outside the BMP',
    { userId: '😀'.repeat(128), products: [{ _id: '𝒳'.repeat(128), quantity: 1 }] }
  ],
  ['a space as id', { userId: ' ', products: [{ _id: '\t', quantity: 1 }] }],
  ['quantity 1,000,000', { userId: 'u', products: [{ _id: 'p', quantity: 1_000_000 }] }],
  [
    '1,000 lines',
    { userId: 'u', products: Array.from({ length: 1000 }, (_, index) => ({ _id: String(index), quantity: index + 1 })) }
  ],
  ['the same product twice', { userId: 'u', products: [line, line] }]
]

t.test('what is just within the bounds is stored as it was sent', async (t) => {
  for (const [what, sent] of ACCEPTED) {
    const { status, body } = await post(service.url, sent)
    t.equal(status, 201, what)
    t.equal(body.userId, sent.userId, what)
    t.strictSame(body.products, sent.products, what)
    const stored = await service.db.collection('orders').findOne({}, { sort: { _id: -1 } })
    t.equal(stored?.userId, sent.userId, what)
    t.strictSame(stored?.products, sent.products, what)
  }
  const { status, body } = await post(service.url, withQuantity('1.0e1'))
  t.equal(status, 201, '1.0e1 is the integer 10')
  t.equal(body.products[1]?.quantity, 10)
  t.equal(
    (await post(service.url, `\ufeff${JSON.stringify(aNewOrder)}`)).status,
    201,
    'a byte order mark may be ignored (RFC 8259, section 8.1)'
  )
})
