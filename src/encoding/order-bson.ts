import { isUtf8 } from 'node:buffer'
import { OrderLineSchema, OrderSchema, TEXT_CHARACTERS_MAX } from '../../schemas/order.ts'
import { ARRAY, DATE, DOCUMENT, INT32, int32At, int64At, OBJECT_ID, STRING } from './bson.ts'
import { isTraceparent } from '../traceparent.ts'

/*
 * Whether a raw document is an order in just the shape in which this service stores it. "No" only means that somebody
 * who takes more time has to look.
 */

const ID = element(OBJECT_ID, '_id')
const USER_ID = element(STRING, 'userId')
const PRODUCTS = element(ARRAY, 'products')
const PRODUCT_ID = element(STRING, '_id')
const QUANTITY = element(INT32, 'quantity')
const CREATED_AT = element(DATE, 'createdAt')
const UPDATED_AT = element(DATE, 'updatedAt')
const TRACEPARENT = element(STRING, 'traceparent')
const IDEMPOTENCY = element(DOCUMENT, 'idempotency')
const ID_BYTES = 12
const TIME_BYTES = 8
const TRACEPARENT_CHARACTERS = 55
/** The last moment of the year 9999: until then all times have as many characters. */
const TIME_MS_MAX = 253_402_300_799_999
const { minItems: LINES_MIN = 0, maxItems: LINES_MAX = Infinity } = OrderSchema.properties.products
const { minimum: QUANTITY_MIN = 0, maximum: QUANTITY_MAX = Infinity } = OrderLineSchema.properties.quantity
const NO = -1

function element (type: number, name: string): Buffer {
  return Buffer.from([type, ...Buffer.from(name), 0])
}

/**
 * @param start where the document begins
 * @returns where the text of its traceparent begins; undefined if it has another shape
 */
export function traceparentIn (bson: Buffer, start: number): number | undefined {
  const end = start + int32At(bson, start) - 1
  let at = start + 4
  if (!has(bson, at, ID)) return undefined
  at += ID.length + ID_BYTES
  if (!has(bson, at, USER_ID)) return undefined
  at = afterText(bson, at + USER_ID.length)
  if (at === NO || !has(bson, at, PRODUCTS)) return undefined
  at = afterLines(bson, at + PRODUCTS.length)
  if (at === NO) return undefined
  for (const name of [CREATED_AT, UPDATED_AT]) {
    if (!has(bson, at, name)) return undefined
    const ms = int64At(bson, at + name.length)
    if (!(ms >= 0 && ms <= TIME_MS_MAX)) return undefined
    at += name.length + TIME_BYTES
  }
  if (!has(bson, at, TRACEPARENT) || int32At(bson, at + TRACEPARENT.length) !== TRACEPARENT_CHARACTERS + 1) {
    return undefined
  }
  at += TRACEPARENT.length + 4
  const traceparentAt = at
  at += TRACEPARENT_CHARACTERS + 1
  if (has(bson, at, IDEMPOTENCY)) at += IDEMPOTENCY.length + int32At(bson, at + IDEMPOTENCY.length)
  return at === end && isTraceparent(bson.toString('latin1', traceparentAt, traceparentAt + TRACEPARENT_CHARACTERS))
    ? traceparentAt
    : undefined
}

function has (bson: Buffer, at: number, expected: Buffer): boolean {
  const { length } = expected
  for (let i = 0; i < length; i++) if (bson[at + i] !== expected[i]) return false
  return true
}

/** @returns where the text ends, if the schema takes it */
function afterText (bson: Buffer, at: number): number {
  const bytes = int32At(bson, at) - 1
  const start = at + 4
  const end = start + bytes
  let characters = 0
  let others = 0
  for (let i = start; i < end; i++) {
    const byte = bson[i]!
    if (byte > 0x7f) others++
    if ((byte & 0xc0) !== 0x80) characters++
  }
  if (characters < 1 || characters > TEXT_CHARACTERS_MAX) return NO
  return others === 0 || isUtf8(bson.subarray(start, end)) ? end + 1 : NO
}

function afterLines (bson: Buffer, start: number): number {
  const end = start + int32At(bson, start) - 1
  let at = start + 4
  let lines = 0
  while (at < end) {
    if (bson[at++] !== DOCUMENT) return NO
    while (bson[at] !== 0) at++ // the line's number
    const line = at + 1
    const lineEnd = line + int32At(bson, line)
    at = line + 4
    if (!has(bson, at, PRODUCT_ID)) return NO
    at = afterText(bson, at + PRODUCT_ID.length)
    if (at === NO || !has(bson, at, QUANTITY)) return NO
    const quantity = int32At(bson, at + QUANTITY.length)
    if (quantity < QUANTITY_MIN || quantity > QUANTITY_MAX) return NO
    at += QUANTITY.length + 4
    if (at !== lineEnd - 1) return NO
    at = lineEnd
    lines++
  }
  return lines >= LINES_MIN && lines <= LINES_MAX ? end + 1 : NO
}
