import t from 'tap'
import type { Order } from '../../schemas/order.ts'
import type { Problem } from '../../schemas/problem.ts'
import { startService } from '../helper.ts'
import { rawPost, sendRaw } from '../support/raw-http.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
const products = [{ _id: 'product-1', quantity: 1 }]

/** @param values of `x-user-id`; one line each, as the bytes that they are, text as UTF-8 */
async function create (
  body: unknown,
  ...values: (string | Buffer)[]
): Promise<{ status: number, body: Order & Problem }> {
  const lines = values.map((value) => Buffer.concat([Buffer.from('X-User-Id: '), Buffer.from(value as string)]))
  const { status, text } = await sendRaw(service.url, rawPost(JSON.stringify(body), lines))
  return { status, body: JSON.parse(text) }
}

t.test('x-user-id stands in for a missing userId', async (t) => {
  for (const userId of ['user-1', 'a,b', 'a, b', '"quoted"', 'u'.repeat(128)]) {
    const { status, body } = await create({ products }, userId)
    t.equal(status, 201)
    t.equal(body.userId, userId)
    t.strictSame(Object.keys(body), ['_id', 'userId', 'products', 'createdAt', 'updatedAt'])
  }
})

t.test('x-user-id is read as UTF-8', async (t) => {
  for (const userId of ['Zoë', 'Ω', '日本', '😀', '\u0080', '😀'.repeat(128)]) {
    const { status, body } = await create({ products }, userId)
    t.equal(status, 201, userId)
    t.equal(body.userId, userId)
    const stored = await service.db.collection('orders').findOne({}, { sort: { _id: -1 } })
    t.equal(stored?.userId, userId, 'and stored so')
    t.equal((await create({ userId, products }, userId)).status, 201, 'the same in the body')
  }
})

t.test('x-user-id may say the same as userId', async (t) => {
  const { status, body } = await create({ userId: 'user-1', products }, 'user-1')
  t.equal(status, 201)
  t.equal(body.userId, 'user-1')
})

const before = (): Promise<number> => service.db.collection('orders').countDocuments()

t.test('an x-user-id that differs from userId is 400', async (t) => {
  const count = await before()
  for (const [userId, header] of [['user-1', 'user-2'], ['user-1', 'USER-1'], ['é', 'e\u0301'], ['Ã«', 'ë']] as const) {
    const { status, body } = await create({ userId, products }, header)
    t.equal(status, 400, `${userId} and ${header}`)
    t.equal(body.code, 'USER_ID_CONFLICT')
  }
  t.equal(await before(), count, 'and nothing is stored')
})

t.test('a userId that is there and wrong is not replaced by x-user-id', async (t) => {
  const count = await before()
  for (const userId of [null, '', 1, ['user-1'], false]) {
    const { status } = await create({ userId, products }, 'user-1')
    t.equal(status, 400, JSON.stringify(userId))
  }
  t.equal(await before(), count, 'and nothing is stored')
})

t.test('an x-user-id that is not UTF-8 is 400', async (t) => {
  for (const [what, bytes] of [
    ['Latin-1', [0xe9]],
    ['half a sequence', [0xf0, 0x9f, 0x98]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['an overlong form', [0xc1, 0x81]],
    ['above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]]
  ] as const) {
    for (const body of [{ products }, { userId: 'user-1', products }]) {
      const answer = await create(body, Buffer.from([0x61, ...bytes]))
      t.equal(answer.status, 400, what)
      t.equal(answer.body.code, 'NOT_UTF8')
    }
  }
})

t.test('an x-user-id that is sent twice is 400, also when both are equal', async (t) => {
  for (const values of [['user-1', 'user-2'], ['user-1', 'user-1'], ['user-1', '']]) {
    for (const body of [{ products }, { userId: 'user-1', products }, { userId: 'user-1, user-1', products }]) {
      const answer = await create(body, ...values)
      t.equal(answer.status, 400)
      t.equal(answer.body.code, 'USER_ID_REPEATED')
    }
  }
})

t.test('an x-user-id that is empty or longer than 128 characters is 400', async (t) => {
  for (const value of ['', '  ', 'u'.repeat(129), '😀'.repeat(129)]) {
    for (const body of [{ products }, { userId: 'user-1', products }]) {
      t.equal((await create(body, value)).status, 400, JSON.stringify(value))
    }
    const { body } = await create({ products }, value)
    t.equal(body.code, 'VALIDATION_FAILED')
    t.same(body.errors.map(({ pointer }) => pointer), ['/userId'], 'for which it stands in')
  }
})

t.test('x-user-id does not hide that the body is no object', async (t) => {
  for (const sent of [[], null, 'user-1', 1]) {
    const { status, body } = await create(sent, 'user-1')
    t.equal(status, 400, JSON.stringify(sent))
    t.same(body.errors.map(({ pointer }) => pointer), [''])
  }
})
