import { BSON, ObjectId, Timestamp, type Document } from 'mongodb'
import t from 'tap'
import { changeIn } from '../../src/relay/publishing/order-stream.ts'

const clusterTime = new Timestamp({ t: 4_000_000_000, i: 4_000_000_001 })
const AT = { t: 4_000_000_000, i: 4_000_000_001 }
const id = new ObjectId()

function raw (fields: Document): Buffer {
  return Buffer.from(BSON.serialize({ _id: { _data: '8265' }, clusterTime, ...fields }))
}

t.test('an insert is known by its order', async (t) => {
  const inserted = { id: id.toHexString(), at: AT, deleted: false }
  t.strictSame(changeIn(raw({ fullDocument: { _id: id, userId: 'a' } })), inserted)
  t.strictSame(changeIn(raw({ fullDocument: { userId: 'a', _id: id } })), inserted, 'wherever its _id stands')
})

t.test('a deletion is known by its id', async (t) => {
  t.strictSame(changeIn(raw({ deleted: id })), { id: id.toHexString(), at: AT, deleted: true })
})

t.test("a document that has no order's _id is an insert of that", async (t) => {
  const hex = 'a'.repeat(24)
  for (const [_id, text] of [['order-1', 'order-1'], [7, '7'], [hex, hex], [null, 'null']] as const) {
    t.strictSame(changeIn(raw({ fullDocument: { _id } })), { id: text, at: AT, deleted: false })
  }
})

t.test('only the event says what it is, not what stands in an order', async (t) => {
  const order = { _id: id, userId: '\x07deleted\0', products: [{ _id: 'fullDocument', deleted: new ObjectId() }] }
  t.strictSame(changeIn(raw({ fullDocument: order })), { id: id.toHexString(), at: AT, deleted: false })
})

t.test('an event that was cut short is an error, not an order', async (t) => {
  const event = raw({ fullDocument: { _id: 'x' } })
  for (let length = 5; length < event.length; length++) t.throws(() => changeIn(event.subarray(0, length)))
})
