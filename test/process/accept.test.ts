import t, { type Test } from 'tap'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from '../../src/runtime/logger.ts'
import { ACCEPTS_PER_TURN, acceptMore } from '../../src/process/accept.ts'
import { BACKLOG_CONNECTIONS } from '../../src/listen.ts'
import { forkService } from '../support/faults.ts'
import { startWorkers } from '../support/worker-processes.ts'

const WAITING = 200
/** As it is built: a process of its own has no compiler. */
const HELPER = resolve('dist', 'src', 'process', 'accept-helper.js')

function blockEventLoop (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

async function startServer (t: Test, helper = HELPER) {
  const warnings: string[] = []
  const log = { warn: (_data: object, text: string) => { warnings.push(text) } } as unknown as Logger
  const server = createServer((_request, response) => response.end('served'))
  t.teardown(() => { server.close() })
  server.listen({ port: 0, host: '127.0.0.1', backlog: BACKLOG_CONNECTIONS })
  await once(server, 'listening')
  const accepting = acceptMore(server, { backlog: BACKLOG_CONNECTIONS, log, helper })
  const { port } = server.address() as AddressInfo
  return { server, port, warnings, accepting }
}

/** Connections accepted in each turn that accepted any, while all of them were waiting when the first turn began. */
async function acceptedPerTurn (t: Test, server: Server, port: number): Promise<number[]> {
  const turns = new Map<number, number>()
  let turn = 0
  let counting = setImmediate(function next () {
    turn++
    counting = setImmediate(next)
  })
  server.on('connection', () => { turns.set(turn, (turns.get(turn) ?? 0) + 1) })
  const answers = Array.from({ length: WAITING }, async () => {
    const socket = connect(port, '127.0.0.1')
    socket.end('GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n')
    let text = ''
    for await (const chunk of socket) text += chunk
    return text
  })
  blockEventLoop(50) // meanwhile the kernel completes them
  const texts = await Promise.all(answers)
  clearImmediate(counting)
  t.ok(texts.every((text) => text.startsWith('HTTP/1.1 200') && text.endsWith('served')), 'each is served')
  return [...turns.values()]
}

t.test('connections that wait are accepted many a turn', async (t) => {
  const { server, port, warnings, accepting } = await startServer(t)
  await accepting
  const turns = await acceptedPerTurn(t, server, port)
  t.equal(turns.reduce((sum, count) => sum + count), WAITING)
  t.equal(Math.max(...turns), ACCEPTS_PER_TURN)
  t.ok(turns.length <= Math.ceil(WAITING / ACCEPTS_PER_TURN) + 1, `in ${turns.length} turns: ${turns}`)
  t.strictSame(warnings, [])
})

t.test('without its helper a server accepts one a turn, and says so', async (t) => {
  const { server, port, warnings, accepting } = await startServer(t, '/nonexistent/helper.js')
  await accepting
  t.equal(Math.max(...await acceptedPerTurn(t, server, port)), 1)
  t.strictSame(warnings, ['the listener could not be duplicated: under load new connections are accepted slowly'])
})

const skip = spawnSync('ss', ['-V']).status !== 0 && 'ss is not here'
t.test('the backlog stays the one that was asked for', { skip }, async (t) => {
  const { port, accepting } = await startServer(t)
  await accepting
  const lines = execFileSync('ss', ['-Hltn', `sport = :${port}`], { encoding: 'utf8' }).trim().split('\n')
  const limit = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  t.strictSame(lines.map((line) => Number(line.split(/\s+/)[2])), [Math.min(BACKLOG_CONNECTIONS, limit)])
})

for (const order of ['first', 'last']) {
  t.test(`a close waits for all connections, the ${order} accepted ended first, and nothing listens on`, async (t) => {
    const { server, port, accepting } = await startServer(t)
    await accepting
    const sockets = Array.from({ length: 2 * ACCEPTS_PER_TURN }, () => connect(port, '127.0.0.1').on('error', () => {}))
    let accepted = 0
    server.on('connection', () => { accepted++ })
    while (accepted < sockets.length) await delay(1)
    for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nhost: test\r\n') // the head's end is still to come
    await delay(50)
    let closed = false
    const end = new Promise<void>((resolve) => server.close(() => { closed = true; resolve() }))
    const [error] = await once(connect(port, '127.0.0.1'), 'error')
    t.equal(error.code, 'ECONNREFUSED')
    for (const socket of order === 'first' ? sockets : sockets.reverse()) {
      t.notOk(closed, 'before the end of the last one')
      socket.write('connection: close\r\n\r\n')
      await once(socket.resume(), 'close')
    }
    await end
  })
}

t.test('a close while the helper is at work is no failure, and nothing listens on', async (t) => {
  for (const afterMs of [undefined, 10, 20, 30, 40, 60]) await closeAfter(t, afterMs)
})

async function closeAfter (t: Test, afterMs: number | undefined): Promise<void> {
  const { server, port, warnings, accepting } = await startServer(t)
  if (afterMs !== undefined) await delay(afterMs)
  await new Promise((resolve) => server.close(resolve))
  await accepting
  t.strictSame(warnings, [])
  const [error] = await once(connect(port, '127.0.0.1'), 'error')
  t.equal(error.code, 'ECONNREFUSED')
}

/** How many descriptors of a process listen on a port, as Linux tells it. */
function listenersOf (pid: number, url: string): number {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0')
  const sockets = ['tcp', 'tcp6'].flatMap((file) => readFileSync(`/proc/net/${file}`, 'utf8').split('\n'))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(`:${port}`) && state === '0A')
    .map((fields) => `socket:[${fields[9]}]`)
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return sockets.includes(readlinkSync(`/proc/${pid}/fd/${fd}`))
    } catch {
      return false
    }
  }).length
}

t.test('a service listens so on PORT; not on METRICS_PORT, nor in a primary', { timeout: 60_000 }, async (t) => {
  const service = await forkService(t)
  while (listenersOf(service.pid, service.url) < ACCEPTS_PER_TURN) await delay(20)
  t.equal(listenersOf(service.pid, service.url), ACCEPTS_PER_TURN)
  t.equal(listenersOf(service.pid, service.operationsUrl), 1)
  const { service: primary } = await startWorkers(t)
  t.equal(listenersOf(primary.pid, primary.url), 1)
})
