import { connect } from 'node:net'
import { createAnswerReader } from './answer-reader.ts'

/**
 * What is read from a socket at a time: into the same memory each time, as memory for each read costs more than
 * reading.
 */
const READ_BYTES = 64 * 1024

export interface Connection {
  /** Only when the answer to the last one is here. */
  send: (request: Buffer) => void
  end: () => void
}

export interface ConnectionEvents {
  answer: (connection: Connection, status: number, id: string, bytes: number, firstByteMs: number) => void
  /** It is of no use any more. */
  failure: (connection: Connection, error: Error) => void
}

/** A keep-alive connection that has one request under way at a time. */
export function openConnection (port: number, events: ConnectionEvents): Promise<Connection> {
  let sentAt = 0
  let firstByteAt = 0
  let over = false
  const read = createAnswerReader(
    () => { firstByteAt = performance.now() },
    (status, id, bytes) => events.answer(connection, status, id, bytes, firstByteAt - sentAt))

  function fail (error: Error): void {
    if (over) return
    over = true
    socket.destroy()
    events.failure(connection, error)
  }

  const socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: Buffer.allocUnsafe(READ_BYTES),
      callback (length, buffer) {
        try {
          read((buffer as Buffer).subarray(0, length))
        } catch (error) {
          fail(error as Error)
        }
        return true
      }
    }
  })
  const connection: Connection = {
    send (request) {
      sentAt = performance.now()
      socket.write(request)
    },
    end () {
      over = true
      socket.destroy()
    }
  }
  return new Promise((resolve, reject) => {
    socket.once('connect', () => resolve(connection))
    socket.on('error', (error) => { reject(error); fail(error) })
    socket.on('close', () => fail(new Error('the connection was closed')))
  })
}
