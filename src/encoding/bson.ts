/* BSON's layout: https://bsonspec.org/spec.html */

export const DOUBLE = 0x01
export const STRING = 0x02
export const DOCUMENT = 0x03
export const ARRAY = 0x04
export const OBJECT_ID = 0x07
export const DATE = 0x09
export const INT32 = 0x10
export const INT64 = 0x12
export const DECIMAL = 0x13
export const MISSING = 0

/** As a Buffer reads it, without its checks. */
export function int32At (bson: Buffer, offset: number): number {
  return bson[offset]! | bson[offset + 1]! << 8 | bson[offset + 2]! << 16 | bson[offset + 3]! << 24
}

/** The nearest number: exact for all times that there are. */
export function int64At (bson: Buffer, offset: number): number {
  return int32At(bson, offset + 4) * 2 ** 32 + (int32At(bson, offset) >>> 0)
}

/** Bytes of a value of that type at `offset`. @throws TypeError for a type that BSON doesn't have */
export function sizeOf (type: number, bson: Buffer, offset: number): number {
  switch (type) {
    case 0x06: case 0x0a: case 0x7f: case 0xff: case MISSING: return 0
    case 0x08: return 1
    case INT32: return 4
    case DOUBLE: case DATE: case 0x11: case INT64: return 8
    case OBJECT_ID: return 12
    case DECIMAL: return 16
    case STRING: case 0x0d: case 0x0e: return 4 + int32At(bson, offset)
    case DOCUMENT: case ARRAY: case 0x0f: return int32At(bson, offset)
    case 0x05: return 5 + int32At(bson, offset)
    case 0x0c: return 16 + int32At(bson, offset)
    case 0x0b: { // a regular expression: two C strings
      const options = bson.indexOf(0, offset) + 1
      return bson.indexOf(0, options) + 1 - offset
    }
    default: throw new TypeError(`unknown BSON type 0x${type.toString(16)}`)
  }
}

/** MongoDB stores `_id` first: size (4), type (1), "_id\0" (4), then an ObjectId's 12 bytes. @returns them in hex */
export function idOf (bson: Buffer): string {
  return Buffer.from(bson.buffer, bson.byteOffset + 9, 12).toString('hex')
}
