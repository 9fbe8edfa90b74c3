import { createRequire } from 'node:module'

/*
 * What cost the relay most, done with the same result in less time: a record is written into one buffer, where kafkajs
 * makes an encoder for each of its headers (23 against 3 µs for the record of an order).
 * test/kafkajs/record-encoding.test.ts holds the bytes against kafkajs' own. The function is replaced in the module
 * cache, as kafkajs offers no other place.
 */

export interface KafkajsRecord {
  offsetDelta?: number
  timestampDelta?: number
  key?: unknown
  value?: unknown
  headers?: Record<string, unknown>
  encoded?: Buffer
}

/**
 * A message whose record was written elsewhere, from its key on. kafkajs looks at the value only to see that there is
 * one.
 */
export interface EncodedRecord {
  key: string
  value: null
  encoded: Buffer
}

/** What kafkajs copies a record from. */
export interface Encoder { buf: Buffer, offset: number, readonly buffer: Buffer }

const require = createRequire(import.meta.url)
const EncoderClass = require('kafkajs/src/protocol/encoder.js') as { prototype: Encoder }
const RECORD = 'kafkajs/src/protocol/recordBatch/record/v0/index.js'
/** What encodes records, loaded with the first that is sent. */
const USER = 'kafkajs/src/protocol/requests/produce/v3/request.js'

/** kafkajs' own. It also takes what ours doesn't: keys and values that are no strings, several values of a header. */
export const encodeRecordSlowly = require(RECORD) as (record: KafkajsRecord) => Encoder

/** A record's length, before it is known. */
const LENGTH_BYTES_MAX = 5
const VARINT_BYTES_MAX = 5
/** Up to so many characters a loop is faster than a call into Node. */
const SHORT_CHARACTERS = 64
const UTF8_BYTES_MAX = 3
const ZIGZAG_MAX = 2 ** 30

let scratch = Buffer.allocUnsafe(64 * 1024)
let at = 0

export function encodeRecord (record: KafkajsRecord): Encoder {
  const { offsetDelta = 0, timestampDelta = 0, key, value, headers = {}, encoded } = record
  if (encoded !== undefined) {
    begin(timestampDelta, offsetDelta, encoded.length)
    encoded.copy(scratch, at)
    at += encoded.length
    return finish()
  }
  if (typeof key !== 'string' || typeof value !== 'string' || !(timestampDelta >= 0 && timestampDelta < ZIGZAG_MAX)) {
    return encodeRecordSlowly(record)
  }
  const names = Object.keys(headers)
  let characters = key.length + value.length
  for (const name of names) {
    const text = headers[name]
    if (typeof text !== 'string') return encodeRecordSlowly(record)
    characters += name.length + text.length
  }
  begin(timestampDelta, offsetDelta, (2 * names.length + 3) * VARINT_BYTES_MAX + characters * UTF8_BYTES_MAX)
  writeText(key)
  writeText(value)
  writeVarInt(names.length)
  for (const name of names) {
    writeText(name)
    writeText(headers[name] as string)
  }
  return finish()
}

/** @param bytesMax what may follow */
function begin (timestampDelta: number, offsetDelta: number, bytesMax: number): void {
  const most = LENGTH_BYTES_MAX + 3 * VARINT_BYTES_MAX + bytesMax
  if (most > scratch.length) scratch = Buffer.allocUnsafe(most * 2)
  at = LENGTH_BYTES_MAX
  scratch[at++] = 0 // attributes
  writeVarInt(timestampDelta)
  writeVarInt(offsetDelta)
}

function finish (): Encoder {
  const end = at
  const length = end - LENGTH_BYTES_MAX
  const start = LENGTH_BYTES_MAX - sizeOfVarInt(length)
  at = start
  writeVarInt(length)

  const encoder: Encoder = Object.create(EncoderClass.prototype)
  encoder.buf = Buffer.from(scratch.subarray(start, end))
  encoder.offset = end - start
  return encoder
}

/** Of a number that is not negative, in zigzag form. */
function writeVarInt (number: number): void {
  let rest = number * 2
  while (rest > 0x7f) {
    scratch[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  scratch[at++] = rest
}

function sizeOfVarInt (number: number): number {
  let size = 1
  for (let rest = number * 2; rest > 0x7f; rest >>>= 7) size++
  return size
}

function writeText (text: string): void {
  const start = at
  writeVarInt(text.length)
  const begin = at
  if (text.length <= SHORT_CHARACTERS) {
    let index = 0
    for (; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code > 0x7f) break
      scratch[at++] = code
    }
    if (index === text.length) return
    at = begin
  }
  const bytes = scratch.write(text, begin, 'utf8')
  const moved = start + sizeOfVarInt(bytes)
  // Not ASCII: it is longer than it has characters, and its length may be too.
  if (moved !== begin) scratch.copyWithin(moved, begin, begin + bytes)
  at = start
  writeVarInt(bytes)
  at += bytes
}

// kafkajs' own would write a record without a value for what was encoded elsewhere.
if (require.cache[require.resolve(USER)] !== undefined) {
  throw new Error('kafkajs has sent a record already: import src/kafkajs/record-encoding.ts before that')
}
require.cache[require.resolve(RECORD)]!.exports = encodeRecord
