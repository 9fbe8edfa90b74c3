const SIZE_FIRST_BYTES = 4_096
const QUOTE = 0x22
const BACKSLASH = 0x5c
const ZERO = 0x30
/** Up to so many bytes a loop is faster than a call into Node. */
const SHORT_BYTES = 32
const HEX_DIGITS = Buffer.from('0123456789abcdef')
const INTEGER_DIGITS_MAX = 10

/**
 * A growing buffer of JSON text. Writes are bounded only by memory: the caller takes the bytes out at a size of its
 * choice.
 */
export class JsonBuffer {
  bytes = Buffer.allocUnsafe(SIZE_FIRST_BYTES)
  length = 0

  /** Makes room for `size` more bytes. */
  reserve (size: number): void {
    if (this.length + size <= this.bytes.length) return
    const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + size))
    this.bytes.copy(grown, 0, 0, this.length)
    this.bytes = grown
  }

  /** A copy of what was written; the buffer is empty again. */
  take (): Buffer {
    return Buffer.from(this.view())
  }

  /** What was written, up to the next write; the buffer is empty again. */
  view (): Buffer {
    const written = this.bytes.subarray(0, this.length)
    this.length = 0
    return written
  }

  byte (value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  /** ASCII or UTF-8 bytes as they are. */
  raw (source: Uint8Array, start = 0, end = source.length): void {
    this.reserve(end - start)
    const { bytes, length: at } = this
    if (end - start > SHORT_BYTES) bytes.set(source.subarray(start, end), at)
    else for (let from = start, to = at; from < end; from++, to++) bytes[to] = source[from]!
    this.length += end - start
  }

  ascii (text: string): void {
    if (text.length < 2) { // a call into Node would take a tenth of a list
      if (text !== '') this.byte(text.charCodeAt(0))
      return
    }
    this.reserve(text.length)
    this.length += this.bytes.write(text, this.length, 'latin1')
  }

  /** Bytes as lower-case hex digits. */
  hex (source: Uint8Array, start: number, end: number): void {
    this.reserve(2 * (end - start))
    const { bytes } = this
    let at = this.length
    for (let i = start; i < end; i++) {
      const byte = source[i]!
      bytes[at++] = HEX_DIGITS[byte >> 4]!
      bytes[at++] = HEX_DIGITS[byte & 15]!
    }
    this.length = at
  }

  /** @param number an integer from 0 to 2^31 - 1 @param digits at least so many, with zeros in front */
  digits (number: number, digits = 1): void {
    this.reserve(INTEGER_DIGITS_MAX)
    let count = digits
    for (let bound = 10 ** digits; bound <= number; bound *= 10) count++
    const start = this.length
    for (let at = start + count - 1, rest = number; at >= start; at--) {
      const tenth = (rest / 10) | 0
      this.bytes[at] = ZERO + rest - tenth * 10
      rest = tenth
    }
    this.length += count
  }

  /** A length in Kafka's records: zigzag, seven bits a byte. @param number an integer from 0 to 2^30 - 1 */
  varInt (number: number): void {
    let rest = number * 2
    for (; rest > 0x7f; rest >>>= 7) this.byte((rest & 0x7f) | 0x80)
    this.byte(rest)
  }

  /** A JSON string of UTF-8 bytes; bytes that are no UTF-8 become U+FFFD. */
  string (source: Buffer, start: number, end: number): void {
    this.reserve(end - start + 2)
    const { bytes } = this
    let at = this.length
    bytes[at++] = QUOTE
    for (let i = start; i < end; i++) {
      const byte = source[i]!
      if (byte < 0x20 || byte > 0x7e || byte === QUOTE || byte === BACKSLASH) {
        return this.#escaped(source.toString('utf8', start, end))
      }
      bytes[at++] = byte
    }
    bytes[at++] = QUOTE
    this.length = at
  }

  #escaped (text: string): void {
    const json = JSON.stringify(text)
    this.reserve(json.length * 3)
    this.length += this.bytes.write(json, this.length, 'utf8')
  }
}
