import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { connectMongo, failCommand, forkService, startOwnPart } from '../support/faults.ts'
import { aNewOrder, databaseUrl, eventually, metric, newNamespace } from '../helper.ts'

const ORDERS = 20_000
/** As long as orders may well be: what the kernel's socket buffers swallow must be little against the whole list. */
const USER_ID = 'u'.repeat(128)
const products = Array.from({ length: 20 }, (_, index) => ({ _id: `product-${index}`, quantity: 1 }))

const mongo = await startOwnPart(t, 'mongo')
const client = await connectMongo(t, mongo.url)
const namespace = newNamespace()
const now = new Date()
await client
  .db(namespace)
  .collection('orders')
  .insertMany(
    Array.from({ length: ORDERS }, () => ({ ...aNewOrder, userId: USER_ID, products, createdAt: now, updatedAt: now }))
  )
const service = await forkService(
  t,
  { MONGO_URL: databaseUrl(namespace, mongo.url), REDIS_URL: 'off', KAFKA_BROKERS: 'off' },
  namespace
)

/**
 * Cursors that lists hold; the service's change streams read with getMore outside of cursors with a filter on `_id`.
 */
async function listCursors (client: MongoClient): Promise<number> {
  const cursors = await client
    .db('admin')
    .aggregate([
      { $currentOp: { allUsers: true, idleCursors: true } },
      {
        $match: {
          ns: `${namespace}.orders`,
          $or: [{ 'cursor.originatingCommand.find': 'orders' }, { 'command.find': 'orders' }]
        }
      }
    ])
    .toArray()
  return cursors.length
}

/** A reader that takes only what it is told to take. */
async function openList (t: Test): Promise<Socket> {
  const { hostname, port } = new URL(service.url)
  const socket = connect(Number(port), hostname)
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  return socket
}

/** Resident memory in bytes. */
function memoryOf (pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
}

async function firstBytes (socket: Socket): Promise<string> {
  const [bytes] = await once(socket, 'data') as [Buffer]
  socket.pause()
  return bytes.toString()
}

t.test(
  'the list is whole, in order and valid, and its first bytes come while the rest is still to be read',
  async (t) => {
    const response = await fetch(service.url)
    const reader = response.body!.getReader()
    const first = await reader.read()
    t.match(Buffer.from(first.value!).toString(), /^\[\{"_id":"/)
    // A cursor is in neither list while it passes from idle to read; this one stays open until somebody reads on.
    t.ok(await eventually(() => listCursors(client), 5_000), 'the cursor is still open')
    const chunks = [first.value!]
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      chunks.push(value)
    }
    const ids = JSON.parse(Buffer.concat(chunks).toString()).map(({ _id }: { _id: string }) => _id)
    t.equal(ids.length, ORDERS)
    t.strictSame(ids, ids.toSorted())
  }
)

t.test(
  'what a list leaves behind is collected with the young, before V8 counts it against the whole heap',
  async () => {
    const collections = async (): Promise<number> =>
      (await metric(service, 'nodejs_gc_duration_seconds_count{kind="minor"}'))!
    const before = await collections()
    const bytes = Buffer.byteLength(await (await fetch(service.url)).text())
    // Left to itself V8 would make some two.
    await eventually(
      async () => (await collections()) - before >= Math.floor(bytes / 1_048_576),
      5_000,
      'a collection for each MiB of the list'
    )
  }
)

t.test('readers that stop reading cost no memory, and those that go away no cursor', async (t) => {
  await (await fetch(service.url)).text()
  const before = memoryOf(service.pid)
  const readers = await Promise.all(Array.from({ length: 10 }, () => openList(t)))
  const heads = await Promise.all(readers.map(firstBytes))
  for (const head of heads) t.match(head, /^HTTP\/1.1 200 /)
  // Until each reader's socket is full cursors pass from idle to read and back, and on their way are counted as
  // neither.
  await eventually(async () => await listCursors(client) === 10, 5_000, 'each waits in the middle of its list')
  // The lists together are 180 MB; of each a batch of 1 MB is in memory, and some garbage.
  await eventually(async () => (await fetch(`${service.operationsUrl}/livez`)).ok)
  const grown = memoryOf(service.pid) - before
  t.ok(grown < 110 * 1024 * 1024, `grew by ${Math.round(grown / 1024 / 1024)} MB`)
  for (const reader of readers) reader.destroy()
  await eventually(async () => await listCursors(client) === 0, 5_000, 'all cursors closed')
})

t.test('readers that go away before the first byte leave no cursor behind', async (t) => {
  for (let round = 0; round < 20; round++) {
    const readers = await Promise.all([1, 2, 3].map(() => openList(t)))
    // At different points of the start of an answer.
    for (let turns = 0; turns < round; turns++) await new Promise((resolve) => setImmediate(resolve))
    for (const reader of readers) reader.destroy()
  }
  // What has arrived is begun all the same, and a first batch takes its time.
  await eventually(async () => await listCursors(client) === 0, 20_000, 'all cursors closed')
})

t.test(
  'what fails once is tried again, as a primary may just have stepped down; what fails again is refused',
  async (t) => {
    const ids = (
      await client
        .db(namespace)
        .collection('orders')
        .find({}, { limit: 4, projection: { _id: 1 } })
        .toArray()
    ).map(({ _id }) => String(_id))
    for (const [times, expected] of [
      [1, 200],
      [2, 503]
    ] as const) {
      for (const failure of [{ errorCode: 11600, closeConnection: false }, { closeConnection: true }]) {
        for (const path of ['', ids.pop()!]) {
          // an order that was found would be in the cache
          await failCommand(t, client, ['find'], failure, { times })
          const response = await fetch(`${service.url}/${path}`)
          await response.body!.cancel()
          t.equal(response.status, expected, `/${path}: ${times} times ${JSON.stringify(failure)}`)
        }
      }
    }
  }
)

t.test('a MongoDB that dies breaks the list off: nobody takes it for whole', async (t) => {
  const response = await fetch(service.url)
  const reader = response.body!.getReader()
  await reader.read()
  await mongo.kill()
  const killed = performance.now()
  await t.rejects((async () => {
    while (!(await reader.read()).done);
  })())
  t.ok(performance.now() - killed < 12_000, `after ${Math.round(performance.now() - killed)} ms`)
  const { status, headers } = await fetch(service.url)
  t.equal(status, 503, "and a list that can't begin is refused")
  t.match(headers.get('content-type'), 'application/problem+json')
})
