import { BSON, type Document } from 'mongodb'
import { OrderSchema } from '../../schemas/order.ts'
import { bsonToJson } from '../encoding/bson-to-json.ts'
import { afterClusterTime } from '../mongo/change-event.ts'
import { JsonBuffer } from '../encoding/json-buffer.ts'
import { encodeRecord, type EncodedRecord } from '../kafkajs/record-encoding.ts'
import { serializeOrder, toDocument, toOrder, toRecord, toRecordIfOrder, type OrderRecord } from '../models.ts'
import { traceparentIn } from '../encoding/order-bson.ts'

/*
 * Change events to records without objects in between: what a record says is copied from the raw order. Made from
 * objects, it took the relay twice the time, half of it in the garbage collector, as some hundred orders wait for
 * Kafka's answer at a time. Only an order in just the shape in which this service stores it is copied; whatever differs
 * from that takes the way through objects, which alone decides what an order is.
 */

/**
 * An order's own values, as they stand in a record that was made of objects: all around them is what every record says.
 */
const SAMPLE = {
  ...toDocument(
    { userId: 'user', products: [{ _id: 'product', quantity: 1 }] },
    `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`
  ),
  updatedAt: new Date(0)
}
const order = toOrder(SAMPLE)
const record = toRecord(SAMPLE)
const payload = serializeOrder(order)
const lines = JSON.stringify(order.products)
const VALUE = cut(Buffer.from(record.value), '"user"', order._id, lines, payload)
const PAYLOAD = cut(Buffer.from(payload), order._id, '"user"', lines)
const HEADERS = cut(headersOf(encodeRecord(record).buffer), order._id, order._id, order.createdAt, SAMPLE.traceparent)
const VALUE_BYTES = VALUE.reduce((sum, { length }) => sum + length, 0)
const ID_BYTES = order._id.length
const TIME_BYTES = order.createdAt.length
const ID_AT = PAYLOAD[0]!.length
const ID_END = ID_AT + ID_BYTES
const USER_ID_AT = ID_END + PAYLOAD[1]!.length
const AFTER_LINES_BYTES = PAYLOAD[3]!.length
const CREATED_AT_FROM_END = AFTER_LINES_BYTES - PAYLOAD[3]!.indexOf(order.createdAt)

const ORDER = Buffer.from('\x03fullDocument\0', 'latin1')

/** @returns the pieces between the slots, which stand in this order */
function cut (bytes: Buffer, ...slots: string[]): Buffer[] {
  const pieces: Buffer[] = []
  let from = 0
  for (const slot of slots) {
    const at = bytes.indexOf(slot, from)
    if (at === -1) throw new Error(`${bytes} has no ${slot} after its first ${from} bytes`)
    pieces.push(bytes.subarray(from, at))
    from = at + slot.length
  }
  return [...pieces, bytes.subarray(from)]
}

function headersOf (encoded: Buffer): Buffer {
  return encoded.subarray(encoded.indexOf(record.value) + record.value.length)
}

const writeOrder = bsonToJson(OrderSchema)
const json = new JsonBuffer()
let out = new JsonBuffer()
/** What a batch may leave allocated; a large one must not keep its memory for ever. */
const KEPT_BYTES_MAX = 8 * 1024 * 1024

/**
 * @param events raw change events with nothing but `_id`, `clusterTime` and `fullDocument`
 * @param unknown called with each document that makes no event: what was put there by hand may be anything
 */
export function recordsOf (events: Buffer[], unknown: (document: Document) => void): (OrderRecord | EncodedRecord)[] {
  out.length = 0
  const keys: (string | OrderRecord)[] = []
  const ends: number[] = []
  for (const event of events) {
    const key = encode(event) ?? slowly(event, unknown)
    if (key === undefined) continue
    keys.push(key)
    ends.push(out.length)
  }
  const bytes = out.take()
  if (out.bytes.length > KEPT_BYTES_MAX) out = new JsonBuffer()
  return keys.map((key, index) =>
    typeof key === 'string' ? { key, value: null, encoded: bytes.subarray(ends[index - 1] ?? 0, ends[index]) } : key
  )
}

function slowly (event: Buffer, unknown: (document: Document) => void): OrderRecord | undefined {
  const { fullDocument } = objectOf(event)
  const record = toRecordIfOrder(fullDocument)
  if (record === undefined) unknown(fullDocument)
  return record
}

/**
 * Bytes that are no UTF-8 become U+FFFD, as readers of the order see them: refusing them would hold up all other
 * events.
 */
export function objectOf (event: Buffer): Document {
  return BSON.deserialize(event, { validation: { utf8: false } })
}

/** Writes a record from its key on. @returns the key */
function encode (event: Buffer): string | undefined {
  const element = afterClusterTime(event)
  const start = element + ORDER.length
  if (element === 0 || event.compare(ORDER, 0, ORDER.length, element, Math.min(start, event.length)) !== 0) {
    return undefined
  }
  const traceparent = traceparentIn(event, start)
  if (traceparent === undefined) return undefined

  json.length = 0
  writeOrder(event.subarray(start), json)
  const { bytes: payload, length } = json
  const afterUserId = payload.indexOf(PAYLOAD[2]!, USER_ID_AT) // nowhere in a JSON string is a bare quotation mark
  const linesAt = afterUserId + PAYLOAD[2]!.length
  const afterLines = length - AFTER_LINES_BYTES
  const createdAt = length - CREATED_AT_FROM_END

  out.varInt(ID_BYTES)
  out.raw(payload, ID_AT, ID_END)
  out.varInt(VALUE_BYTES + afterUserId - USER_ID_AT + ID_BYTES + afterLines - linesAt + length)
  out.raw(VALUE[0]!)
  out.raw(payload, USER_ID_AT, afterUserId)
  out.raw(VALUE[1]!)
  out.raw(payload, ID_AT, ID_END)
  out.raw(VALUE[2]!)
  out.raw(payload, linesAt, afterLines)
  out.raw(VALUE[3]!)
  out.raw(payload, 0, length)
  out.raw(VALUE[4]!)
  out.raw(HEADERS[0]!)
  out.raw(payload, ID_AT, ID_END)
  out.raw(HEADERS[1]!)
  out.raw(payload, ID_AT, ID_END)
  out.raw(HEADERS[2]!)
  out.raw(payload, createdAt, createdAt + TIME_BYTES)
  out.raw(HEADERS[3]!)
  out.raw(event, traceparent, traceparent + SAMPLE.traceparent.length)
  out.raw(HEADERS[4]!)
  return payload.toString('latin1', ID_AT, ID_END)
}
