import { createRequire } from 'node:module'
import { createServer, type AddressInfo, type Socket } from 'node:net'

/*
 * Kafka's framing, and what kafkajs has for its fields; which answers there are is up to test/support/kafka/brokers.ts.
 */

export interface Encoder {
  writeInt16: (value: number) => Encoder
  writeInt32: (value: number) => Encoder
  writeInt64: (value: number) => Encoder
  writeString: (value: string | null) => Encoder
  writeBoolean: (value: boolean) => Encoder
  writeArray: (values: (Encoder | number | string)[]) => Encoder
  writeEncoder: (value: Encoder) => Encoder
  size: () => number
  readonly buffer: Buffer
}

export interface Decoder {
  readonly buffer: Buffer
  readInt16: () => number
  readInt32: () => number
  readInt64: () => { toString: () => string }
  readString: () => string
  readBoolean: () => boolean
  readArray: <T>(read: (decoder: Decoder) => T) => T[] | null
  slice: (bytes: number) => Decoder
  forward: (bytes: number) => void
}

/** What a Produce request brings to one partition. */
export interface RecordBatch {
  producerEpoch: number
  firstSequence: number
  records: { key: Buffer }[]
}

const require = createRequire(import.meta.url)
const KafkajsEncoder = require('kafkajs/src/protocol/encoder.js') as new () => Encoder
const KafkajsDecoder = require('kafkajs/src/protocol/decoder.js') as new (buffer: Buffer) => Decoder
export const decodeBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder.js') as
  (decoder: Decoder) => Promise<RecordBatch>

export const encode = (): Encoder => new KafkajsEncoder()

export interface Request { apiKey: number, bytes: number, body: Decoder }

export interface WireServer { port: number, readonly connections: number, close: () => Promise<void> }

const LENGTH_BYTES = 4

/**
 * Answers the requests of a connection one after the other, as Kafka does.
 * @param answer undefined closes the connection without an answer
 * @param onError gets what `answer` throws, after which the connection is closed
 */
export async function serveKafka (
  answer: (request: Request) => Promise<Encoder | undefined>,
  onError: (error: unknown) => void,
  onClose: () => void,
  host = '127.0.0.1'
): Promise<WireServer> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => {
      sockets.delete(socket)
      onClose()
    })
    socket.on('error', () => {}) // the client may go away in the midst of an answer
    let data: Buffer = Buffer.alloc(0)
    let turn = Promise.resolve()
    socket.on('data', (chunk: Buffer) => {
      data = Buffer.concat([data, chunk])
      while (data.length >= LENGTH_BYTES && data.length >= LENGTH_BYTES + data.readInt32BE(0)) {
        const end = LENGTH_BYTES + data.readInt32BE(0)
        const message = Buffer.from(data.subarray(LENGTH_BYTES, end))
        data = data.subarray(end)
        turn = turn.then(() => reply(socket, message)).catch((error) => {
          onError(error)
          socket.destroy()
        })
      }
    })
  })

  async function reply (socket: Socket, message: Buffer): Promise<void> {
    if (socket.destroyed) return // what it had sent after the request at which it was closed
    const body = new KafkajsDecoder(message)
    const apiKey = body.readInt16()
    body.readInt16() // its version: each is offered in one only
    const correlationId = body.readInt32()
    body.readString() // the client's id
    const answered = await answer({ apiKey, bytes: message.length, body })
    if (answered === undefined) socket.destroy()
    if (answered === undefined || socket.destroyed) return
    const payload = encode().writeInt32(correlationId).writeEncoder(answered)
    socket.write(encode().writeInt32(payload.size()).writeEncoder(payload).buffer)
  }

  await new Promise<void>((resolve) => { server.listen(0, host, resolve) })
  return {
    port: (server.address() as AddressInfo).port,
    get connections () { return sockets.size },
    close: () => new Promise<void>((resolve) => {
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })
  }
}
