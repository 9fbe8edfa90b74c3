import { ObjectId, type Document } from 'mongodb'
import t from 'tap'
import type { Order } from '../../schemas/order.ts'
import { commandOf, type PageQuery } from '../../src/reads/page-query.ts'
import { firstIdOf } from '../../src/encoding/order-id.ts'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import { aNewOrder, eventually, newNamespace, post, request, startService } from '../helper.ts'

const ORDERS = 1_000
const SECOND = 1_700_000_000
const NOT_AN_ORDER = { _id: 'by hand' as never, userId: 'user-1', products: [], createdAt: new Date() }

const namespace = newNamespace()
const service = await startService(t, { KAFKA_BROKERS: 'off', ORDER_INDEXES: 'all' }, namespace)
const others = [
  await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off', ORDER_INDEXES: 'off' }, namespace),
  await startService(t, { KAFKA_BROKERS: 'off', ORDER_INDEXES: 'user' }, namespace)
]
const collection = service.db.collection<OrderDocument>('orders')

/** An earlier release's, which was made in one second and got its id in the next. */
const LATE = 499
/** Two in each second; every tenth is of user-1, each of one of seven products, of which some have it twice. */
const stored = Array.from({ length: ORDERS }, (_, index) => {
  const at = new Date((SECOND + index / 2) * 1000)
  const second = SECOND + Math.floor(index / 2) + (index === LATE ? 1 : 0)
  const line = { _id: `product-${index % 7}`, quantity: 1 }
  return {
    ...toDocument({ userId: `user-${index % 10}`, products: index % 3 === 0 ? [line, line] : [line] }, ''),
    _id: new ObjectId(firstIdOf(second).slice(0, 8) + index.toString(16).padStart(16, '0')),
    createdAt: at,
    updatedAt: at
  }
})
await collection.insertMany(stored as never)
await collection.insertOne(NOT_AN_ORDER as never)
const idsOf = (documents: { _id: ObjectId }[]): string[] => documents.map(({ _id }) => _id.toHexString())
const timeOf = (index: number): string => stored[index]!.createdAt.toISOString()

interface Page { ids: string[], orders: Order[], next: string | undefined }

async function page (url: string): Promise<Page> {
  const { status, headers, text } = await request(url)
  if (status !== 200) throw new Error(text)
  const [, next] = /^<(\?[^>]+)>; rel="next"$/.exec(headers.get('link') ?? '') ?? []
  const orders = JSON.parse(text) as Order[]
  return { ids: orders.map(({ _id }) => _id), orders, next: next && new URL(next, url).href }
}

async function walk (query: string, urls = [`${service.url}/orders`]): Promise<{ ids: string[], pages: number }> {
  const ids: string[] = []
  let pages = 0
  for (let next: string | undefined = `?${query}`; next !== undefined; pages++) {
    const found = await page(new URL(new URL(next, urls[0]).search, urls[pages % urls.length]).href)
    ids.push(...found.ids)
    next = found.next
    if (pages > ORDERS) throw new Error('a walk without end')
  }
  return { ids, pages }
}

await eventually(async () => (await collection.indexes()).length === 4, 20_000, 'the indexes')

t.test('a walk has each order once, in both directions, whatever the size of a page', async (t) => {
  const all = idsOf(stored)
  for (const [query, pages] of [['limit=1000', 1], ['limit=999', 2], ['limit=250', 4], ['order=asc', 10]] as const) {
    t.strictSame(await walk(query), { ids: all, pages }, query)
  }
  t.strictSame(await walk('order=desc'), { ids: all.toReversed(), pages: 10 })
  t.strictSame((await walk('limit=7&order=desc')).ids, all.toReversed())
})

t.test('a page goes on on any replica', async (t) => {
  const urls = [service, ...others].map(({ url }) => `${url}/orders`)
  t.strictSame((await walk('limit=77', urls)).ids, idsOf(stored))
})

t.test('the cursor is any id, also one of an order that is gone, in either case', async (t) => {
  const url = `${service.url}/orders?limit=2&after=`
  t.strictSame((await page(url + stored[10]!._id.toHexString().toUpperCase())).ids, idsOf(stored.slice(11, 13)))
  t.strictSame((await page(`${url}${firstIdOf(SECOND + 1)}`)).ids, idsOf(stored.slice(2, 4)))
  const last = await page(`${url}${'f'.repeat(24)}`)
  t.strictSame(last, { ids: [], orders: [], next: undefined })
  t.strictSame((await page(`${url}${'0'.repeat(24)}&order=desc`)).ids, [])
})

t.test('a user, a product, a time, and a time of one of them', async (t) => {
  const ofUser = stored.filter(({ userId }) => userId === 'user-3')
  const ofProduct = stored.filter(({ products }) => products[0]!._id === 'product-3')
  const within = <T extends { createdAt: Date }>(orders: T[], from: number, to: number): T[] =>
    orders.filter(({ createdAt }) => createdAt >= stored[from]!.createdAt && createdAt < stored[to]!.createdAt)
  const times = `createdFrom=${timeOf(101)}&createdTo=${timeOf(500)}`
  for (const [query, orders] of [
    ['userId=user-3', ofUser],
    ['productId=product-3', ofProduct],
    ['userId=nobody', []],
    [times, within(stored, 101, 500)],
    [`userId=user-3&${times}`, within(ofUser, 101, 500)],
    [`productId=product-3&${times}`, within(ofProduct, 101, 500)],
    [`createdFrom=${timeOf(999)}`, stored.slice(999)],
    [`createdTo=${timeOf(1)}`, stored.slice(0, 1)],
    [`createdFrom=${timeOf(500)}&createdTo=${timeOf(101)}`, []]
  ] as const) {
    t.strictSame((await walk(`limit=9&${query}`)).ids, idsOf([...orders]), query)
    t.strictSame((await walk(`limit=9&order=desc&${query}`)).ids, idsOf([...orders]).toReversed(), `${query} desc`)
  }
})

t.test('times are those of RFC 3339', async (t) => {
  const from = async (time: string): Promise<string | undefined> =>
    (await page(`${service.url}/orders?limit=1&createdFrom=${encodeURIComponent(time)}`)).ids[0]
  const at = (index: number): string => stored[index]!._id.toHexString()
  // 2023-11-14T22:13:20Z is second 1,700,000,000.
  for (const [time, index] of [
    ['2023-11-14T22:13:20Z', 0],
    ['2023-11-14t22:13:20z', 0],
    ['2023-11-14 22:13:20.000Z', 0],
    ['2023-11-14T23:13:20+01:00', 0],
    ['2023-11-14T17:13:20.0-05:00', 0],
    ['2023-11-14T22:13:20.0000000001Z', 1],
    ['2023-11-14T22:13:20.5Z', 1],
    ['2023-11-14T22:13:20.500000Z', 1],
    ['2023-11-14T22:13:20.5001Z', 2],
    ['0001-01-01T00:00:00Z', 0]
  ] as const) t.equal(await from(time), at(index), time)
  t.equal(await from('9999-12-31T23:59:59Z'), undefined)
  t.equal(await from('2016-12-31T23:59:60Z'), at(0), 'a leap second')
})

t.test('an item of a page is just what GET /:id answers', async (t) => {
  const { text, body } = await post(`${service.url}/orders`, { ...aNewOrder, userId: 'Jörg "😀"' })
  const list = await request(`${service.url}/orders?userId=${encodeURIComponent('Jörg "😀"')}`)
  t.equal(list.text, `[${text}]`)
  t.equal(list.text, `[${(await request(`${service.url}/${body._id}`)).text}]`)
  t.equal(list.headers.get('content-length'), String(Buffer.byteLength(list.text)))
  await collection.deleteOne({ _id: new ObjectId(body._id) })
})

t.test('a page is one range of one index', async (t) => {
  const stagesOf = (stage: Document): string[] => [
    stage.stage,
    ...(stage.inputStage === undefined ? [] : stagesOf(stage.inputStage))
  ]
  const after = stored[800]!._id.toHexString()
  const times = { createdFrom: timeOf(200), createdTo: timeOf(900) }
  const queries: PageQuery[] = [{}, { userId: 'user-3' }, { productId: 'product-3' }]
  // Of an index that an operator made the planner must not think better.
  await collection.createIndex({ createdAt: 1 })
  await collection.createIndex({ userId: 1, createdAt: 1 })
  for (const query of queries.flatMap((each) => [each, { ...each, after }, { ...each, ...times }])) {
    for (const order of ['asc', 'desc'] as const) {
      const { limit, ...command } = commandOf('orders', { ...query, order, limit: 10 })
      const { executionStats: stats, queryPlanner } = await service.db.command({
        explain: { ...command, limit },
        verbosity: 'executionStats'
      })
      const what = JSON.stringify({ ...query, order })
      t.strictSame(stagesOf(queryPlanner.winningPlan).filter((stage) => /SORT|COLLSCAN/.test(stage)), [], what)
      const most = 1.1 * stats.nReturned + 4 // the orders of the seconds at the ends, and one key more
      t.ok(stats.totalKeysExamined <= most && stats.totalDocsExamined <= most, what)
    }
  }
  await collection.dropIndex('createdAt_1')
  await collection.dropIndex('userId_1_createdAt_1')
})

t.test('orders that come during a walk take none of the others away', async (t) => {
  const before = new Set(idsOf(stored))
  const added: string[] = []
  const walks = ['limit=5', 'limit=5&order=desc'].map((query) => walk(query))
  const ended = Promise.all(walks)
  const state = { going: true }
  ended.finally(() => { state.going = false }).catch(() => {})
  while (state.going) {
    // Of replicas whose clocks are two seconds ahead or behind.
    for (const skew of [-2, 0, 2]) {
      const _id = new ObjectId(ObjectId.generate(Math.floor(Date.now() / 1000) + skew))
      await collection.insertOne({ ...toDocument(aNewOrder, ''), _id })
      added.push(_id.toHexString())
    }
  }
  for (const { ids } of await ended) {
    t.equal(new Set(ids).size, ids.length, 'none twice')
    t.strictSame(ids.filter((id) => before.has(id)).toSorted(), [...before].toSorted(), 'none of the old is skipped')
  }
  await collection.deleteMany({ _id: { $in: added.map((id) => new ObjectId(id)) } })
})

t.test('a page that is larger than an answer of MongoDB is shorter, and says that another follows', async (t) => {
  const large = { ...aNewOrder, userId: 'large', products: Array.from({ length: 1_000 }, (_, index) => ({ _id: `${'x'.repeat(120)}${index}`, quantity: 1 })) }
  const documents = Array.from({ length: 150 }, () => toDocument(large, ''))
  await collection.insertMany(documents)
  const first = await page(`${service.url}/orders?userId=large&limit=1000`)
  t.ok(first.ids.length > 50 && first.ids.length < 150, `${first.ids.length} orders`)
  t.type(first.next, 'string')
  const walked = await walk('userId=large&limit=1000')
  t.strictSame(walked.ids, idsOf(documents))
  await collection.deleteMany({ userId: 'large' })
})

t.test('without its index a filter is refused, and never a scan', async (t) => {
  const [off, user] = others.map(({ url }) => `${url}/orders`)
  const refused = await request(`${off}?userId=user-3`)
  t.equal(refused.status, 400)
  t.equal(refused.body.code, 'FILTER_OFF')
  t.match(refused.body.detail, 'ORDER_INDEXES=user')
  t.strictSame(refused.body.errors, [{ parameter: 'userId', detail: refused.body.detail }])
  t.equal((await request(`${user}?userId=user-3`)).status, 200)
  t.equal((await request(`${user}?productId=product-3`)).body.code, 'FILTER_OFF')

  await collection.dropIndex('page_user')
  const missing = await request(`${service.url}/orders?userId=user-3`)
  t.equal(missing.status, 503)
  t.equal(missing.body.code, 'INDEX_MISSING')
  t.ok(Number(missing.headers.get('retry-after')) >= 1)
  t.equal((await request(`${service.url}/orders?limit=1`)).status, 200, 'and pages without it go on')
})
