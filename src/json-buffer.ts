const SIZE_FIRST_BYTES = 4_096
const QUOTE = 0x22
const BACKSLASH = 0x5c

/** A growing buffer of JSON text. Writes are bounded only by memory: whoever fills it takes the bytes out at a size of their own. */
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
    const taken = Buffer.from(this.bytes.subarray(0, this.length))
    this.length = 0
    return taken
  }

  byte (value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  /** ASCII or UTF-8 bytes as they are. */
  raw (source: Uint8Array): void {
    this.reserve(source.length)
    this.bytes.set(source, this.length)
    this.length += source.length
  }

  ascii (text: string): void {
    this.reserve(text.length)
    this.length += this.bytes.write(text, this.length, 'latin1')
  }

  /** A JSON string of UTF-8 bytes; bytes that are no UTF-8 become U+FFFD. */
  string (source: Buffer, start: number, end: number): void {
    this.reserve(end - start + 2)
    const { bytes } = this
    let at = this.length
    bytes[at++] = QUOTE
    for (let i = start; i < end; i++) {
      const byte = source[i]!
      if (byte < 0x20 || byte > 0x7e || byte === QUOTE || byte === BACKSLASH) return this.#escaped(source.toString('utf8', start, end))
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
