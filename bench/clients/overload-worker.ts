/*
 * Sends orders over raw keep-alive sockets, in a thread of its own: Node's HTTP client would cost more than the service
 * that it loads. One request at a time on each connection, as a client without pipelining does it.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { newOrder } from './client.ts'
import type { LoadOptions, LoadResult } from './overload.ts'

const { port, connections, seconds, first, rate, fresh, honourRetryAfter } = workerData as LoadOptions
/** Longer than the service may take for the fate of an order. */
const LAST_ANSWER_MS_MAX = 15_000
const TICK_MS = 1

const created: [string, string][] = []
const codes = new Map<string, number>()
const at: number[] = []
const ms: number[] = []
const statuses: number[] = []
let next = first
let unanswered = 0

interface Reply { status: number, retryAfterMs: number }

function createConnection () {
  let socket: Socket | undefined
  let received: Buffer = Buffer.alloc(0)
  let sentAt = 0
  let settle: ((reply: Reply) => void) | undefined

  function ended (): void {
    socket?.destroy()
    socket = undefined
    received = Buffer.alloc(0)
    if (settle !== undefined) unanswered++
    answer({ status: 0, retryAfterMs: 0 })
  }

  function answer (reply: Reply): void {
    const resolve = settle
    settle = undefined
    resolve?.(reply)
  }

  function read (chunk: Buffer): void {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    const head = received.indexOf('\r\n\r\n')
    if (head < 0) return
    const text = received.toString('latin1', 0, head)
    const end = head + 4 + (opening ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(text)![1]))
    if (received.length < end) return
    const body = received.toString('utf8', head + 4, end)
    received = Buffer.alloc(0)
    const status = Number(text.slice(9, 12))
    if (opening) return answer({ status, retryAfterMs: 0 })
    at.push(performance.now() - start)
    ms.push(performance.now() - sentAt)
    statuses.push(status)
    if (status === 201) created.push([body.slice(8, 32), body])
    else count(`${status} ${/"code":"(\w+)"/.exec(body)?.[1] ?? ''}`)
    answer({ status, retryAfterMs: Number(/\r\nretry-after: (\d+)/i.exec(text)?.[1] ?? 0) * 1000 })
  }

  function write (request: string): Promise<Reply> {
    if (socket === undefined) {
      socket = connect({ host: '127.0.0.1', port, noDelay: true })
      socket.on('data', read).on('error', () => {}).on('close', ended)
    }
    sentAt = performance.now()
    socket.write(request)
    return new Promise((resolve) => { settle = resolve })
  }

  return {
    open: () => write('HEAD / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n'),
    send: (body: string) =>
      write(
        `POST /orders HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
      ),
    close (): void {
      socket?.destroy()
    }
  }
}

function count (code: string): void {
  codes.set(code, (codes.get(code) ?? 0) + 1)
}

const all: ReturnType<typeof createConnection>[] = []

/**
 * Sends its next order when it has the answer to its last one, and the same again when it was turned away and waited.
 */
async function closedLoop (connection: ReturnType<typeof createConnection>): Promise<void> {
  let body: string | undefined
  while (performance.now() < until) {
    body ??= newOrder(next++)
    const { status, retryAfterMs } = await connection.send(body)
    if (status === 201) body = undefined
    // At least what it was asked for, and not all at the same moment.
    else if (honourRetryAfter) {
      await delay(Math.min(retryAfterMs * (1 + Math.random() / 2), Math.max(0, until - performance.now())))
    } else if (status === 0) await delay(10)
  }
}

/**
 * Sends at its rate, whatever becomes of what was sent; only when every connection waits for an answer, it has to wait
 * too.
 */
async function openLoop (perSecond: number): Promise<void> {
  const idle = [...all]
  const pending = new Set<Promise<void>>()
  async function post (connection: ReturnType<typeof createConnection>): Promise<void> {
    await connection.send(newOrder(next++))
    if (fresh === undefined) idle.push(connection)
    else connection.close()
  }
  let sent = 0
  while (performance.now() < until) {
    const due = (fresh?.atOnce ?? 0) + (performance.now() - start) / 1000 * perSecond
    for (; sent < due; sent++) {
      const connection = fresh === undefined ? idle.pop() : createConnection()
      if (connection === undefined) {
        count('not sent, for want of a connection')
        continue
      }
      const request = post(connection)
      pending.add(request)
      request.finally(() => pending.delete(request))
    }
    await delay(TICK_MS)
  }
  await Promise.all(pending)
}

// As a pool has them. libuv accepts one connection in each turn of the event loop (libuv/libuv#3696), so that those
// which a service under load is still to accept would load it only seconds later, if at all.
let opening = true
while (all.length < connections) {
  const some = Array.from({ length: Math.min(64, connections - all.length) }, createConnection)
  all.push(...some)
  await Promise.all(some.map((connection) => connection.open()))
}
opening = false
const start = performance.now()
const until = start + seconds * 1000
await Promise.race([
  rate === undefined ? Promise.all(all.map(closedLoop)) : openLoop(rate),
  delay(seconds * 1000 + LAST_ANSWER_MS_MAX)
])
for (const connection of all) connection.close()
parentPort!.postMessage({ created, at, ms, statuses, codes, unanswered, sent: next - first } satisfies LoadResult)
