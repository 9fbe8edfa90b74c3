import t from 'tap'
import { BSON, ObjectId } from 'mongodb'
import { OrderSchema } from '../../schemas/order.ts'
import { bsonToJson } from '../../src/encoding/bson-to-json.ts'
import { JsonBuffer } from '../../src/encoding/json-buffer.ts'

const { Binary, Code, DBRef, Decimal128, Double, Int32, Long, MaxKey, MinKey, BSONRegExp, BSONSymbol, Timestamp } = BSON

const write = bsonToJson(OrderSchema)
const out = new JsonBuffer()

/** @param before bytes that lie before the document in its buffer, as in a server's answer */
function jsonOf (document: object, before = 0): string {
  const bson = BSON.serialize(document, { ignoreUndefined: false })
  const answer = Buffer.alloc(before + bson.length + 3, 0xff)
  answer.set(bson, before)
  write(answer.subarray(before, before + bson.length), out)
  return out.take().toString('utf8')
}

const SEED = 20_261_122
const GENERATED = 5_000

/** mulberry32: the same numbers at every run, so that a failure can be found again. */
function createRandom (seed: number) {
  const next = (): number => {
    seed = (seed + 0x6d2b79f5) | 0
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
  const below = (bound: number): number => Math.floor(next() * bound)
  const CLASSES: (() => number)[] = [
    () => 0x20 + below(0x5f),
    () => 0x20 + below(0x5f),
    () => below(0x20),
    () => 0x22,
    () => 0x5c,
    () => 0x7f + below(0x80),
    () => 0x100 + below(0xd700),
    () => 0x2028 + below(2),
    () => 0xe000 + below(0x2000),
    () => 0x10000 + below(0x100000)
  ]
  const text = (): string => {
    const plain = next() < 0.5
    return String.fromCodePoint(
      ...Array.from({ length: 1 + below(plain ? 128 : 20) }, () =>
        plain ? 0x20 + below(0x5f) : CLASSES[below(CLASSES.length)]!()
      )
    )
  }
  return { below, text }
}

t.test(`the JSON of ${GENERATED} generated orders is that of JSON.stringify`, async (t) => {
  const { below, text } = createRandom(SEED)
  let different = 0
  for (let i = 0; i < GENERATED; i++) {
    const at = new Date(below(2 ** 31) * 1000 + below(1000))
    const order = {
      _id: new ObjectId(Buffer.from(Array.from({ length: 12 }, () => below(256)))),
      userId: text(),
      products: Array.from({ length: 1 + below(below(10) === 0 ? 120 : 4) }, () => ({
        _id: text(),
        quantity: 1 + below(1_000_000)
      })),
      createdAt: at,
      updatedAt: below(2) === 0 ? at : new Date(at.getTime() + below(5_000))
    }
    const expected = JSON.stringify(order)
    const stored = below(2) === 0 ? { ...order, traceparent: text() } : order
    const json = jsonOf(stored, below(9))
    if (json !== expected && ++different < 3) t.equal(json, expected, `order ${i} of seed ${SEED}`)
  }
  t.equal(different, 0)
})

const id = new ObjectId('5f0000000000000000000001')
const time = '2020-07-04T04:05:20.000Z'
const at = new Date('2026-11-22T10:00:00.123Z')
const SHAPE = { _id: id.toHexString(), userId: '', products: [] as unknown[], createdAt: time, updatedAt: time }

/** A value of every BSON type that the driver can write. */
const EVERY_TYPE: unknown[] = [
  new Double(1.5),
  'text',
  { a: { b: [1] } },
  [1, [2, { c: 3 }]],
  new Binary(Buffer.from([1, 2, 3])),
  new Binary(Buffer.from([1, 2]), 2),
  new Binary(Buffer.alloc(16), 4),
  undefined,
  new ObjectId(),
  true,
  false,
  at,
  null,
  /a.*b/i,
  new BSONRegExp('', ''),
  new DBRef('users', id),
  new Code('() => 1'),
  new Code('() => a', { a: 1 }),
  new BSONSymbol('symbol'),
  new Int32(7),
  new Timestamp({ t: 1, i: 2 }),
  Long.fromString('9223372036854775807'),
  Decimal128.fromString('12.50'),
  new MinKey(),
  new MaxKey(),
  NaN,
  Infinity,
  -0
]

t.test('extra fields of every BSON type are passed over, wherever they stand', async (t) => {
  const line = { _id: 'p', quantity: 1 }
  const order = { _id: id, userId: 'u', products: [line], createdAt: at, updatedAt: at }
  const expected = JSON.stringify(order)
  for (const [index, value] of EVERY_TYPE.entries()) {
    t.equal(jsonOf({ extra: value, ...order }), expected, `before, ${index}`)
    t.equal(
      jsonOf({
        _id: id,
        a: value,
        userId: 'u',
        '': value,
        products: [{ x: value, _id: 'p', quantity_: value, quantity: 1, z: value }],
        createdA: value,
        createdAt: at,
        updatedAt: at,
        é: value
      }),
      expected,
      `between, ${index}`
    )
  }
})

t.test("no value of any BSON type in any field breaks the JSON or the contract's shape", async (t) => {
  const isOrder = (json: string): boolean => {
    const order = JSON.parse(json)
    return (
      JSON.stringify(Object.keys(order)) === JSON.stringify(Object.keys(SHAPE)) &&
      ['_id', 'userId', 'createdAt', 'updatedAt'].every((name) => typeof order[name] === 'string') &&
      Array.isArray(order.products) &&
      [order.createdAt, order.updatedAt].every((text) => new Date(text).toISOString() === text) &&
      order.products.every((line: object) => JSON.stringify(Object.keys(line)) === '["_id","quantity"]') &&
      order.products.every(
        (line: { _id: unknown, quantity: unknown }) => typeof line._id === 'string' && Number.isInteger(line.quantity)
      )
    )
  }
  for (const [index, value] of EVERY_TYPE.entries()) {
    for (const document of [
      { _id: value }, { _id: id, userId: value }, { _id: id, products: value }, { _id: id, products: [value, value] },
      { _id: id, products: [{ _id: value, quantity: value }] }, { _id: id, createdAt: value, updatedAt: value }
    ]) t.ok(isOrder(jsonOf(document)), `${Object.keys(document).at(-1)}, ${index}: ${jsonOf(document)}`)
  }
})

const LEGACY: [what: string, document: object, expected: object][] = [
  ['nothing but an _id', { _id: id }, SHAPE],
  [
    'fields in another order',
    { updatedAt: at, products: [], userId: 'u', _id: id },
    { ...SHAPE, userId: 'u', updatedAt: at.toISOString() }
  ],
  [
    'Mongoose',
    { _id: id, userId: 'u', products: [{ _id: id, quantity: 2 }], __v: 0, createdAt: at, updatedAt: at },
    {
      ...SHAPE,
      userId: 'u',
      products: [{ _id: id.toHexString(), quantity: 2 }],
      createdAt: at.toISOString(),
      updatedAt: at.toISOString()
    }
  ],
  [
    'an ObjectId, a number and a Long as ids',
    {
      _id: id,
      userId: id,
      products: [
        { _id: 7, quantity: 1 },
        { _id: Long.fromNumber(8), quantity: 1 }
      ]
    },
    {
      ...SHAPE,
      userId: id.toHexString(),
      products: [
        { _id: '7', quantity: 1 },
        { _id: '8', quantity: 1 }
      ]
    }
  ],
  [
    'a Long beyond 2^53 as userId',
    { _id: id, userId: Long.fromString('9007199254740993') },
    { ...SHAPE, userId: '9007199254740993' }
  ],
  [
    'a Decimal128 as userId',
    { _id: id, userId: Decimal128.fromString('12345678901234567890') },
    { ...SHAPE, userId: '12345678901234567890' }
  ],
  [
    'strings, doubles, Longs and Decimal128 as quantities',
    {
      _id: id,
      products: ['2', new Double(3), Long.fromNumber(4), Decimal128.fromString('5')].map((quantity) => ({
        _id: 'p',
        quantity
      }))
    },
    { ...SHAPE, products: [2, 3, 4, 5].map((quantity) => ({ _id: 'p', quantity })) }
  ],
  [
    'quantities that are none',
    { _id: id, products: ['many', NaN, -Infinity, null, -0, 1e300].map((quantity) => ({ _id: 'p', quantity })) },
    { ...SHAPE, products: [0, 0, 0, 0, 0, 1e300].map((quantity) => ({ _id: 'p', quantity })) }
  ],
  [
    'lines that are none',
    { _id: id, products: [null, 'p', {}] },
    { ...SHAPE, products: Array(3).fill({ _id: '', quantity: 0 }) }
  ],
  [
    'times as text',
    { _id: id, createdAt: '2020-01-02T03:04:05.678Z', updatedAt: 'yesterday' },
    { ...SHAPE, createdAt: '2020-01-02T03:04:05.678Z' }
  ],
  [
    'times as text with an offset or as numbers',
    { _id: id, createdAt: '2020-01-02T05:04:05+02:00', updatedAt: 1577934245678 },
    { ...SHAPE, createdAt: '2020-01-02T03:04:05.000Z', updatedAt: '2020-01-02T03:04:05.678Z' }
  ],
  [
    'times before 1970',
    { _id: id, createdAt: new Date(-1), updatedAt: new Date(-1000) },
    { ...SHAPE, createdAt: '1969-12-31T23:59:59.999Z', updatedAt: '1969-12-31T23:59:59.000Z' }
  ],
  [
    'an _id that is text',
    { _id: 'a-1', userId: 'u' },
    { ...SHAPE, _id: 'a-1', userId: 'u', createdAt: '1970-01-01T00:00:00.000Z', updatedAt: '1970-01-01T00:00:00.000Z' }
  ]
]

t.test('what an older service left is shown as the order that it means', async (t) => {
  for (const [what, document, expected] of LEGACY) t.equal(jsonOf(document), JSON.stringify(expected), what)
})

t.test('a date that no Date can hold is shown as the time of the _id', async (t) => {
  for (const ms of ['8640000000000001', '-8640000000000001', '9223372036854775807', '-9223372036854775808']) {
    const bson = BSON.serialize({ _id: id, createdAt: at })
    Buffer.from(bson.buffer, bson.byteOffset).writeBigInt64LE(BigInt(ms), bson.length - 9)
    write(bson, out)
    t.equal(JSON.parse(out.take().toString()).createdAt, time, ms)
  }
})

t.test('text that is no UTF-8 is shown with U+FFFD', async (t) => {
  const bson = BSON.serialize({ _id: id, userId: 'abc' })
  Buffer.from(bson.buffer, bson.byteOffset)[bson.length - 3] = 0xff
  write(bson, out)
  t.equal(JSON.parse(out.take().toString()).userId, 'ab\ufffd')
})
