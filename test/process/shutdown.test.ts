import { once } from 'node:events'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import {
  connectMongo,
  forkService,
  leads,
  send,
  startPosting,
  storedIds,
  type ServiceProcess
} from '../support/faults.ts'
import { eventually, newNamespace, parts, request, startService } from '../helper.ts'

/**
 * A connection that was made, with a request sent to the last byte but not answered, is the service's to answer; so is
 * every request on a connection that it left open for more. What a new connection meets after the listener has closed
 * is not.
 */
function wasAccepted ({ status, reused }: { status: number, reused: boolean }): boolean {
  return status !== 0 || reused
}

async function isRefused (url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  return await once(socket, 'connect').then(() => false, () => true).finally(() => socket.destroy())
}

async function endsWithin (service: ServiceProcess, msMax: number): Promise<{ code: number | null, ms: number }> {
  const began = performance.now()
  let ended: { code: number | null } | undefined
  service.exit.then((result) => { ended = result })
  await eventually(() => ended, msMax, 'the end of the process')
  return { code: ended!.code, ms: performance.now() - began }
}

async function startLeader (t: Test): Promise<ServiceProcess> {
  const service = await forkService(t)
  await eventually(() => leads(service), 30_000, 'a leader')
  return service
}

t.test(
  'a service that is asked to end under load answers all that it accepted and leaves nothing behind',
  async (t) => {
    const client = await connectMongo(t, parts.mongoUrl)
    for (let rounds = 0; rounds < 3; rounds++) {
      const service = await startLeader(t)
      const posting = startPosting(t, () => service.url, 32)
      await eventually(() => posting.told.length > 500)
      service.signal('SIGTERM')
      const { code, ms } = await endsWithin(service, 9_000)
      const told = await posting.stop()
      t.equal(code, 0, `after ${Math.round(ms)} ms`)
      const failed = told.filter((answer) => wasAccepted(answer) && answer.status !== 201)
      t.strictSame(
        failed.map(({ status, error }) => [status, error]),
        []
      )
      const ids = storedIds(told)
      t.equal(
        await client.db(service.namespace).collection('orders').countDocuments(),
        ids.length,
        'what is stored is what was confirmed'
      )
      const lease = await client
        .db(service.namespace)
        .collection('relay')
        .findOne({ owner: { $exists: true } })
      t.equal(lease?.owner, '', 'the lease is given back')
      for (const url of [service.url, service.operationsUrl]) t.equal(await isRefused(url), true)
      t.equal(service.errors, '')
    }
  }
)

t.test('connections that wait to be taken when the service closes are taken and answered', async (t) => {
  const { close, url } = await startService(t, { KAFKA_BROKERS: 'off' })
  const { hostname, port } = new URL(url)
  // The loop takes one in each of its turns, and the clients are connected after the first.
  const sockets = Array.from({ length: 30 }, () => connect(Number(port), hostname))
  const answers = sockets.map(async (socket) => {
    socket.write(`GET /orders/${'0'.repeat(24)} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    return await once(socket, 'close').then(() => Buffer.concat(chunks).toString().slice(0, 12), (error) => error.code)
  })
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  await close()
  t.strictSame(await Promise.all(answers), sockets.map(() => 'HTTP/1.1 404'))
})

t.test('readyz says unready while the service closes, and open requests are still answered', async (t) => {
  const service = await startLeader(t)
  const { hostname, port } = new URL(service.url)
  const body = JSON.stringify({ userId: 'user-1', products: [{ _id: 'product-1', quantity: 1 }] })
  const socket = connect(Number(port), hostname)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  socket.write(
    `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 10)}`
  )
  await eventually(async () => (await request(`${service.operationsUrl}/readyz`)).status === 200)
  service.signal('SIGTERM')
  await eventually(() => service.log.some(({ msg }) => /the service closes/.test(msg)))
  const { status, body: readiness } = await eventually(async () => {
    const answer = await request(`${service.operationsUrl}/readyz`)
    return answer.status === 503 ? answer : undefined
  }, 2_000, 'unready')
  t.match({ status, readiness }, { status: 503, readiness: { status: 'unready', closing: true } })
  socket.write(body.slice(10))
  const [answer] = await once(socket, 'data') as [Buffer]
  t.match(answer.toString(), /^HTTP\/1.1 201 /)
  t.match(answer.toString(), /connection: close/i)
  t.equal((await endsWithin(service, 9_000)).code, 0)
})

t.test('Ctrl-C that comes twice, as npm and the terminal both send it, is a clean end', async (t) => {
  const service = await startLeader(t)
  service.signal('SIGINT')
  await eventually(() => service.log.some(({ msg }) => /the service closes/.test(msg)))
  service.signal('SIGINT')
  t.equal((await endsWithin(service, 9_000)).code, 0)
})

t.test(
  'a request that never ends holds the end up no longer than the deadline, and idle connections not at all',
  async (t) => {
    const namespace = newNamespace()
    const service = await forkService(t, { CLOSE_DELAY_MS: 3_000 }, namespace)
    const agent = new Agent({ keepAlive: true })
    t.teardown(() => agent.destroy())
    t.equal((await send(agent, 'GET', `${service.url}/${'0'.repeat(24)}`)).status, 404)
    const { hostname, port } = new URL(service.url)
    const socket = connect(Number(port), hostname)
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    socket.write('POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
    await eventually(() => leads(service), 30_000, 'a leader')
    service.signal('SIGTERM')
    const { ms } = await endsWithin(service, 9_000)
    t.ok(ms < 4_000, `after ${Math.round(ms)} ms`)
    const client = await connectMongo(t, parts.mongoUrl)
    const lease = await client
      .db(namespace)
      .collection('relay')
      .findOne({ owner: { $exists: true } })
    t.equal(lease?.owner, '', 'the lease is given back all the same')
  }
)
