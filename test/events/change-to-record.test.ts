import { BSON, Binary, Decimal128, Long, ObjectId, Timestamp, type Document } from 'mongodb'
import t from 'tap'
import { createRandom } from '../../bench/clients/random.ts'
import '../../src/kafka/client.ts'
import { recordsOf } from '../../src/events/change-to-record.ts'
import { encodeRecord, encodeRecordSlowly } from '../../src/kafkajs/record-encoding.ts'
import { toDocument, toRecord, toRecordIfOrder } from '../../src/models.ts'
import { traceparentOf } from '../../src/traceparent.ts'

const TOKEN = { _data: '82'.repeat(40) }
const CLUSTER_TIME = new Timestamp({ t: 4_000_000_000, i: 7 })
const rawEvent = (fullDocument: Document): Buffer =>
  Buffer.from(BSON.serialize({ _id: TOKEN, clusterTime: CLUSTER_TIME, fullDocument }))
const order = () =>
  toDocument({ userId: 'user-1', products: [{ _id: 'product-1', quantity: 2 }] }, traceparentOf(undefined))

/** The records of these documents, and whether they were encoded the quick way. */
function told (documents: Document[]) {
  const strangers: Document[] = []
  const records = recordsOf(documents.map(rawEvent), (document) => strangers.push(document))
  return { strangers, records, quick: records.map((record) => 'encoded' in record) }
}

t.test('a raw order makes the bytes that kafkajs makes of its record', async (t) => {
  const documents = [
    order(),
    toDocument(
      {
        userId: 'u'.repeat(128),
        products: [
          { _id: ' ', quantity: 1 },
          { _id: '~'.repeat(128), quantity: 1_000_000 }
        ]
      },
      traceparentOf(undefined),
      'a-key'
    ),
    toDocument(
      {
        userId: 'u',
        products: Array.from({ length: 1_000 }, (_value, index) => ({ _id: `p-${index}`, quantity: index + 1 }))
      },
      traceparentOf(undefined)
    ),
    ...['Zoë "😀"\n', '😀'.repeat(128), '\u0000', '\u007f\u2028\ufffd', '","products":[]', '\\","products":', '{}'].map(
      (userId) => ({ ...order(), userId })
    ),
    {
      ...order(),
      products: [
        { _id: 'é"\\', quantity: 1 },
        { _id: '漢'.repeat(128), quantity: 3 }
      ]
    },
    { ...order(), updatedAt: new Date(0) },
    { ...order(), createdAt: new Date('9999-12-31T23:59:59.999Z') }
  ]
  const { records, quick } = told(documents)
  t.strictSame(quick, documents.map(() => true))
  for (const [index, document] of documents.entries()) {
    const offsets = { offsetDelta: index * 100, timestampDelta: 0 }
    t.equal(records[index]!.key, document._id.toHexString())
    t.ok(
      encodeRecord({ ...records[index]!, ...offsets }).buffer.equals(
        encodeRecordSlowly({ ...toRecord(document), ...offsets }).buffer
      ),
      `order ${index}`
    )
  }
})

t.test('what differs from what this service writes is left to objects', async (t) => {
  const line = { _id: 'product-1', quantity: 2 }
  const others: Document[] = [
    { ...order(), userId: '' },
    { ...order(), userId: 'u'.repeat(129) },
    { ...order(), userId: '😀'.repeat(129) },
    { ...order(), userId: 7 },
    { ...order(), userId: new ObjectId() },
    { ...order(), products: [] },
    { ...order(), products: Array.from({ length: 1_001 }, () => line) },
    { ...order(), products: {} },
    { ...order(), products: [7] },
    { ...order(), products: [{ ...line, quantity: 0 }] },
    { ...order(), products: [{ ...line, quantity: 1_000_001 }] },
    { ...order(), products: [{ ...line, quantity: -1 }] },
    { ...order(), products: [{ ...line, quantity: 1.5 }] },
    { ...order(), products: [{ ...line, quantity: Long.fromNumber(2) }] },
    { ...order(), products: [{ ...line, quantity: Decimal128.fromString('2') }] },
    { ...order(), products: [{ ...line, price: 3 }] },
    { ...order(), products: [{ quantity: 2, _id: 'product-1' }] },
    { ...order(), products: [{ _id: 'product-1' }] },
    { ...order(), products: [{ ...line, _id: '' }] },
    { ...order(), createdAt: new Date(-1) },
    { ...order(), createdAt: new Date('+010000-01-01T00:00:00.000Z') },
    { ...order(), createdAt: '2026-01-01' },
    { ...order(), updatedAt: 7 },
    { ...order(), traceparent: 'none' },
    { ...order(), traceparent: `ff-${'1'.repeat(32)}-${'2'.repeat(16)}-01` },
    { ...order(), traceparent: 7 },
    { ...order(), note: 'by hand' },
    { ...order(), _id: 'text' },
    { ...order(), _id: 7 },
    { ...order(), idempotency: 7 },
    {},
    { _id: new ObjectId(), userId: 'user', products: [line] },
    Object.fromEntries(Object.entries(order()).reverse()),
    { ...order(), idempotency: { key: 'k', fingerprint: new Binary(Buffer.alloc(32)) }, later: 1 }
  ]
  for (const document of others) {
    const { records, strangers, quick } = told([document])
    const expected = toRecordIfOrder(BSON.deserialize(BSON.serialize(document)))
    t.strictSame(records, expected === undefined ? [] : [expected], BSON.EJSON.stringify(document).slice(0, 120))
    t.equal(strangers.length, expected === undefined ? 1 : 0)
    t.notOk(quick.includes(true))
  }
})

t.test('text that is no UTF-8 is published as readers see it', async (t) => {
  const document = { ...order(), userId: 'user-?' }
  const event = rawEvent(document)
  event[event.indexOf('user-?') + 5] = 0xff
  t.strictSame(recordsOf([event], () => t.fail('it is an order')), [toRecord({ ...document, userId: 'user-\ufffd' })])
})

t.test('each record of a batch is its own', async (t) => {
  const random = createRandom(11)
  const documents: Document[] = Array.from({ length: 500 }, () => {
    const text = (): string => random.pick(['a', 'user ', 'é', '"', '漢', '0']).repeat(random.below(20))
    const document = toDocument(
      {
        userId: text(),
        products: Array.from({ length: random.below(4) }, () => ({ _id: text(), quantity: random.below(3) }))
      },
      traceparentOf(undefined),
      random.chance(0.3) ? text() : undefined
    )
    return random.chance(0.1) ? { ...document, note: 'by hand' } : document
  })
  const { records, strangers, quick } = told(documents)
  const expected = documents.flatMap((document) => toRecordIfOrder(document) ?? [])
  t.equal(records.length, expected.length)
  t.equal(records.length + strangers.length, documents.length)
  t.ok(quick.includes(true) && quick.includes(false))
  const different = records.filter(
    (record, offsetDelta) =>
      !encodeRecord({ ...record, offsetDelta }).buffer.equals(
        encodeRecordSlowly({ ...expected[offsetDelta]!, offsetDelta }).buffer
      )
  )
  t.strictSame(different, [])
})

t.test("an event that is none of the stream's shape is read as objects", async (t) => {
  const document = order()
  for (const event of [
    { fullDocument: document },
    { _id: 7, fullDocument: document },
    { _id: TOKEN, fullDocument: document },
    { _id: TOKEN, operationType: 'insert', fullDocument: document }
  ]) {
    const records = recordsOf([Buffer.from(BSON.serialize(event))], () => t.fail('it is an order'))
    t.strictSame(records, [toRecord(document)])
  }
})
