import t from 'tap'
import { createInsert } from '../../src/orders/insert.ts'
import { IDEMPOTENCY_INDEX } from '../../src/models.ts'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import { connectMongo } from '../support/faults.ts'
import { aNewOrder, newNamespace, parts } from '../helper.ts'

const TRACEPARENT = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
const DEADLINE_MS = 10_000
const log = { debug () {}, info () {}, warn () {}, error () {} } as never

const client = await connectMongo(t, parts.mongoUrl)
const db = client.db(newNamespace())
const collection = db.collection<OrderDocument>('orders')
await collection.createIndex(IDEMPOTENCY_INDEX.key, IDEMPOTENCY_INDEX.options)
const insert = createInsert({ db, collection, deadlineMs: DEADLINE_MS, log })
const document = (): OrderDocument => toDocument(aNewOrder, TRACEPARENT)

t.test('an order whose time is nearly over ends alone, and what it would have been sent with is stored', async (t) => {
  const documents = Array.from({ length: 100 }, document)
  const now = performance.now()
  const results = await insert(documents, documents.map((_, index) => index === 0 ? now - DEADLINE_MS + 15 : now))
  t.match(results[0], { status: 'rejected', reason: { code: 'NOT_STORED' } })
  t.ok(results.slice(1).every(({ status }) => status === 'fulfilled'))
  t.equal(await collection.countDocuments({ _id: { $in: documents.map(({ _id }) => _id) } }), 99)
})

t.test('an id that another order has already is no order of ours', async (t) => {
  const [first, second] = [document(), { ...document(), createdAt: new Date(0) }]
  second._id = first._id
  t.match(await insert([first], [performance.now()]), [{ status: 'fulfilled' }])
  t.match(await insert([second], [performance.now()]), [{ status: 'rejected', reason: { code: 'NOT_STORED' } }])
  t.match(await insert([first], [performance.now()]), [{ status: 'fulfilled' }], 'while the same one again is')
})
