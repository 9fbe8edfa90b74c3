import type { Requests } from './job.ts'
import { orderOf } from './order.ts'

/** Enough that no contestant sees the same order again and again, few enough to be made beforehand. */
const ORDERS = 1_000

const posts = Array.from({ length: ORDERS }, (_value, n) => {
  const body = JSON.stringify(orderOf(n))
  return Buffer.from(
    `POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
  )
})
const list = get('')

function get (id: string): Buffer {
  return Buffer.from(`GET /${id} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`)
}

/** @returns what makes the next request; all are bytes made beforehand */
export function requestsOf (requests: Requests): () => Buffer {
  let next = 0
  const post = (): Buffer => posts[next++ % ORDERS]!
  if (requests.kind === 'posts') return post
  if (requests.kind === 'list') return () => list

  const gets = requests.ids.map(get)
  const anyGet = (): Buffer => gets[Math.floor(Math.random() * gets.length)]!
  if (requests.kind === 'mixed') return () => Math.random() < requests.postShare ? post() : anyGet()
  return requests.inTurn === true ? () => gets[next++ % gets.length]! : anyGet
}

export function isPost (request: Buffer): boolean {
  return request[0] === 0x50 // P
}
