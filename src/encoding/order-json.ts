import { isAscii } from 'node:buffer'

/**
 * A serialised order: text where all of it is ASCII, otherwise bytes of UTF-8. node:http sends text in one piece with
 * the head, and a Buffer in a piece of its own; text of other characters would have to be encoded for each answer.
 */
export type OrderJson = string | Buffer

export function fromText (text: string): OrderJson {
  const size = Buffer.byteLength(text)
  if (size === text.length) return text
  const bytes = Buffer.allocUnsafeSlow(size)
  bytes.write(text)
  return bytes
}

/**
 * @param bytes copied, as what is kept must not keep the buffer that they stand in (nor Node's pool, so
 * allocUnsafeSlow)
 */
export function fromBytes (bytes: Buffer): OrderJson {
  if (isAscii(bytes)) return bytes.toString('latin1')
  const own = Buffer.allocUnsafeSlow(bytes.length)
  bytes.copy(own)
  return own
}
