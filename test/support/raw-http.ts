import { connect } from 'node:net'

/** An answer as it came over the socket. Header names are in lower case. */
export interface RawAnswer { status: number, headers: Record<string, string>, text: string }

/**
 * Sends bytes that no HTTP client would send, and waits until the server has closed the connection.
 * @param bytes strings are sent as Latin-1, one byte a character
 */
export async function sendRaw (url: string, bytes: string | Buffer, msMax = 5_000): Promise<RawAnswer> {
  const { hostname, port } = new URL(url)
  return await new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`the connection was still open after ${msMax} ms, with ${Buffer.concat(chunks)}`))
    }, msMax)
    socket.on('data', (chunk) => { chunks.push(chunk) })
    socket.on('error', reject)
    socket.on('end', () => socket.end())
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(parse(Buffer.concat(chunks)))
    })
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
}

function parse (bytes: Buffer): RawAnswer {
  const end = bytes.indexOf('\r\n\r\n')
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const headers = Object.fromEntries(lines.map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  }))
  return { status: Number(statusLine.split(' ')[1]), headers, text: bytes.toString('utf8', end + 4) }
}

/** A POST of an order as raw bytes; `head` are further header lines. */
export function rawPost (body: string | Buffer, head: (string | Buffer)[] = [], path = '/'): Buffer {
  const bytes = Buffer.from(body as string)
  const lines = [
    `POST ${path} HTTP/1.1`,
    'Host: test',
    'Connection: close',
    'Content-Type: application/json',
    `Content-Length: ${bytes.length}`,
    ...head
  ]
  return Buffer.concat([
    ...lines.flatMap((line) => [Buffer.from(line as string), Buffer.from('\r\n')]),
    Buffer.from('\r\n'),
    bytes
  ])
}
