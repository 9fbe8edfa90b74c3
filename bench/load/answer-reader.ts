const HEAD_END = '\r\n\r\n'
const STATUS_AT = 'HTTP/1.1 '.length
const LENGTH = /\r\ncontent-length: *(\d+)/i
const CHUNKED = /\r\ntransfer-encoding: *chunked/i
const ID = /"_id":"([0-9a-f]{24})"/
const NEWLINE = 10

type State = 'head' | 'length' | 'chunk size' | 'chunk' | 'trailer'

/** @param id the first id in the body of a 201, otherwise empty */
export type OnAnswer = (status: number, id: string, bytes: number) => void

/**
 * Reads the answers that come one after the other on a connection, and of each only its status, its length and where it
 * ends: a whole HTTP client would take as long for an answer as the service that is measured. Throws when it is no
 * HTTP/1.1.
 */
export function createAnswerReader (onFirstByte: () => void, onAnswer: OnAnswer) {
  let state: State = 'head'
  let head = ''
  let status = 0
  let bytes = 0
  /** Bytes of the body, or of the chunk and the line end after it, that are still to come. */
  let left = 0
  let line = ''
  /** The body of a 201 as far as it is here. */
  let body = ''

  function finish (): void {
    const id = status === 201 ? ID.exec(body)?.[1] ?? '' : ''
    state = 'head'
    body = ''
    onAnswer(status, id, bytes)
  }

  /** @returns where the body begins, or the end of what is here */
  function readHead (data: Buffer, at: number): number {
    if (head === '') onFirstByte()
    head += data.toString('latin1', at)
    const end = head.indexOf(HEAD_END)
    if (end === -1) return data.length
    status = Number(head.slice(STATUS_AT, STATUS_AT + 3))
    const before = head.length - (data.length - at)
    head = head.slice(0, end) // what follows may be another answer
    const length = LENGTH.exec(head)
    if (length !== null) {
      state = 'length'
      left = bytes = Number(length[1])
    } else if (CHUNKED.test(head)) {
      state = 'chunk size'
      bytes = 0
    } else {
      throw new Error(`an answer that says nothing about its length: ${head.slice(0, 200)}`)
    }
    head = ''
    return at + end + HEAD_END.length - before
  }

  function readBody (data: Buffer, at: number): number {
    const end = Math.min(data.length, at + left)
    if (status === 201) body += data.toString('latin1', at, end)
    left -= end - at
    return end
  }

  function readLine (data: Buffer, at: number): number {
    const end = data.indexOf(NEWLINE, at)
    line += data.toString('latin1', at, end === -1 ? data.length : end)
    if (end === -1) return data.length
    if (state === 'chunk size') {
      const size = parseInt(line, 16)
      if (Number.isNaN(size)) throw new Error(`no size of a chunk: ${line.slice(0, 20)}`)
      bytes += size
      left = size + 2
      state = size === 0 ? 'trailer' : 'chunk'
    } else if (line.trim() === '') {
      finish()
    }
    line = ''
    return end + 1
  }

  return function read (data: Buffer): void {
    for (let at = 0; at < data.length;) {
      switch (state) {
        case 'head':
          at = readHead(data, at)
          if (state as State === 'length' && left === 0) finish()
          break
        case 'length':
          at = readBody(data, at)
          if (left === 0) finish()
          break
        case 'chunk':
          at = readBody(data, at)
          if (left === 0) state = 'chunk size'
          break
        default:
          at = readLine(data, at)
      }
    }
  }
}
