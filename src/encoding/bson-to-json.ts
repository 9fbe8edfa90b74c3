import type { TArray, TObject, TSchema } from '@sinclair/typebox'
import { Decimal128 } from 'mongodb'
import {
  ARRAY,
  DATE,
  DECIMAL,
  DOCUMENT,
  DOUBLE,
  INT32,
  INT64,
  int32At,
  int64At,
  MISSING,
  OBJECT_ID,
  sizeOf,
  STRING
} from './bson.ts'
import { JsonBuffer } from './json-buffer.ts'

/*
 * BSON bytes to JSON bytes, without objects in between: a list of a million orders is a walk over the raw documents.
 * The walk is compiled from the TypeBox schema of the order, so that it writes what the schema says, in the schema's
 * order, and nothing else. What an older service left in the collection never fails: extra fields are passed over, an
 * ObjectId or a number serves as text, text or a number of ms as time; a time that is missing or none is that of the
 * ObjectId, anything else that is missing is "", 0 or [].
 */

/**
 * Writes the value of BSON type `type` at `offset`; type 0 stands for a missing one. `id` is the offset of the
 * document's ObjectId, or -1.
 */
type Writer = (type: number, bson: Buffer, offset: number, id: number, out: JsonBuffer) => void

const QUOTE = 0x22

/** @returns a function that writes one raw document of that shape as JSON */
export function bsonToJson (schema: TObject): (bson: Uint8Array, out: JsonBuffer) => void {
  const write = objectWriter(schema)
  return (bson, out) =>
    write(
      DOCUMENT,
      Buffer.isBuffer(bson) ? bson : Buffer.from(bson.buffer, bson.byteOffset, bson.byteLength),
      0,
      -1,
      out
    )
}

function writerFor (schema: TSchema): Writer {
  switch (schema.type) {
    case 'object': return objectWriter(schema as TObject)
    case 'array': return arrayWriter(schema as TArray)
    case 'integer': return writeInteger
    case 'string': return schema.format === 'date-time' ? writeTime : writeText
    default: throw new TypeError(`no BSON writer for a schema of type ${schema.type}`)
  }
}

function objectWriter (schema: TObject): Writer {
  const fields = Object.entries(schema.properties).map(([name, property], index) => ({
    name: Buffer.from(name),
    key: Buffer.from(`${index === 0 ? '{' : ','}${JSON.stringify(name)}:`),
    write: writerFor(property)
  }))
  // A document's fields nearly always stand in the schema's order: look for the next one first.
  function indexOf (bson: Buffer, start: number, length: number, expected: number): number {
    for (let tried = 0; tried < fields.length; tried++) {
      const index = (expected + tried) % fields.length
      const { name } = fields[index]!
      if (name.length !== length) continue
      let i = 0
      while (i < length && name[i] === bson[start + i]) i++
      if (i === length) return index
    }
    return -1
  }
  const count = fields.length
  // No schema contains itself, so that one place for what is found is enough.
  const types = new Uint8Array(count)
  const offsets = new Int32Array(count)
  return (type, bson, offset, _id, out) => {
    types.fill(MISSING)
    let id = -1
    if (type === DOCUMENT) {
      const end = offset + int32At(bson, offset) - 1
      let at = offset + 4
      let expected = 0
      while (at < end) {
        const elementType = bson[at++]!
        const nameStart = at
        while (bson[at] !== 0) at++
        const index = indexOf(bson, nameStart, at - nameStart, expected)
        at++
        if (index !== -1) {
          types[index] = elementType
          offsets[index] = at
          expected = index + 1
          if (index === 0 && elementType === OBJECT_ID) id = at
        }
        at += sizeOf(elementType, bson, at)
      }
    }
    for (let i = 0; i < count; i++) {
      const field = fields[i]!
      out.raw(field.key)
      field.write(types[i]!, bson, offsets[i]!, id, out)
    }
    out.byte(0x7d)
  }
}

function arrayWriter (schema: TArray): Writer {
  const write = writerFor(schema.items)
  return (type, bson, offset, id, out) => {
    out.byte(0x5b)
    if (type === ARRAY) {
      const end = offset + int32At(bson, offset) - 1
      let at = offset + 4
      let first = true
      while (at < end) {
        const elementType = bson[at++]!
        while (bson[at] !== 0) at++
        at++
        if (!first) out.byte(0x2c)
        first = false
        write(elementType, bson, at, id, out)
        at += sizeOf(elementType, bson, at)
      }
    }
    out.byte(0x5d)
  }
}

function writeText (type: number, bson: Buffer, offset: number, _id: number, out: JsonBuffer): void {
  if (type === STRING) return out.string(bson, offset + 4, offset + 3 + int32At(bson, offset))
  if (type === OBJECT_ID) {
    out.byte(QUOTE)
    out.hex(bson, offset, offset + 12)
    return out.byte(QUOTE)
  }
  const number =
    type === INT64
      ? bson.readBigInt64LE(offset)
      : type === DECIMAL
        ? decimalAt(bson, offset)
        : numberAt(type, bson, offset)
  out.ascii(number === undefined ? '""' : `"${number}"`)
}

function writeInteger (type: number, bson: Buffer, offset: number, _id: number, out: JsonBuffer): void {
  const number = type === STRING ? Number(textAt(bson, offset)) : numberAt(type, bson, offset)
  if (type === INT32 && number! >= 0) return out.digits(number!)
  out.ascii(Number.isFinite(number) ? String(Math.trunc(number!)) : '0')
}

function writeTime (type: number, bson: Buffer, offset: number, id: number, out: JsonBuffer): void {
  let time: number | undefined
  if (type === DATE) time = int64At(bson, offset)
  else if (type === STRING) time = Date.parse(textAt(bson, offset))
  else time = numberAt(type, bson, offset)
  if (time === undefined || !(Math.abs(time) <= TIME_MS_MAX)) time = id === -1 ? 0 : bson.readUInt32BE(id) * 1000
  writeIsoTime(Math.trunc(time), out)
}

/** What a Date can hold. */
const TIME_MS_MAX = 8.64e15
const TIME_END = Buffer.from('Z"')
let lastSecond = NaN
let lastSecondText: Uint8Array = TIME_END

/**
 * `"2026-11-22T10:00:00.000Z"` with its quotes. Orders of one second share all but the milliseconds, and toISOString is
 * dear.
 */
function writeIsoTime (ms: number, out: JsonBuffer): void {
  const second = Math.floor(ms / 1000)
  if (second !== lastSecond) {
    lastSecond = second
    lastSecondText = Buffer.from(`"${new Date(second * 1000).toISOString().slice(0, -4)}`)
  }
  out.raw(lastSecondText)
  out.digits(ms - second * 1000, 3)
  out.raw(TIME_END)
}

function numberAt (type: number, bson: Buffer, offset: number): number | undefined {
  switch (type) {
    case INT32: return int32At(bson, offset)
    case DOUBLE: return bson.readDoubleLE(offset)
    case INT64: return int64At(bson, offset)
    case DECIMAL: return Number(decimalAt(bson, offset))
    default: return undefined
  }
}

function decimalAt (bson: Buffer, offset: number): string {
  return new Decimal128(bson.subarray(offset, offset + 16)).toString()
}

function textAt (bson: Buffer, offset: number): string {
  return bson.toString('utf8', offset + 4, offset + 3 + int32At(bson, offset))
}
