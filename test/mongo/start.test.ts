import t, { type Test } from 'tap'
import { MongoClient } from 'mongodb'
import { startLocalParts } from '../../local/index.ts'
import { IDEMPOTENCY_INDEX } from '../../src/models.ts'
import { waitForMongo } from '../../src/mongo/start.ts'
import { connectMongo, failCommand, startOwnPart } from '../support/faults.ts'
import { failingStart, forkService, newFolder } from '../support/forked-service.ts'
import { databaseUrl, eventually, newNamespace, parts, post, startService } from '../helper.ts'

const environment = (MONGO_URL: string) => ({
  MONGO_URL,
  REDIS_URL: 'off',
  KAFKA_BROKERS: 'off',
  HOST: '127.0.0.1',
  PORT: '0',
  METRICS_PORT: '0'
})

/** One that can't be used ends the start, however it is wrong. */
const refused = (t: Test, MONGO_URL: string) => failingStart(t, { ...environment(MONGO_URL), LOG_LEVEL: 'error' })

t.test(
  'with a MongoDB that runs alone the start ends with one line that says how to make it a replica set',
  { timeout: 60_000 },
  async (t) => {
    const { host, password } = await startStandalone(t)
    const { line } = await refused(t, `mongodb://admin:${password}@${host}/?authSource=admin`)
    t.match(line, /^MongoDB in MONGO_URL runs alone, .* start mongod with --replSet rs0 and run rs\.initiate\(\) once$/)

    for (const credentials of ['admin:wrong-password', 'nobody:wrong-password']) {
      const { line } = await refused(t, `mongodb://${credentials}@${host}/?authSource=admin`)
      t.match(
        line,
        /^MongoDB at 127\.0\.0\.1:\d+ refused the user of MONGO_URL: Authentication failed\. Check user, password and authSource$/
      )
      t.notMatch(line, /wrong-password/)
    }
  }
)

t.test('a MongoDB that is away is waited for, with a line that says what was tried', { timeout: 60_000 }, async (t) => {
  const part = await startOwnPart(t, 'mongo')
  await part.kill()
  const { child, output, ended } = forkService(
    t,
    environment(`${databaseUrl(newNamespace(), part.url)}&serverSelectionTimeoutMS=500`)
  )
  const waits =
    /"level":40,.*"reason":"MongoDB at [^"]+ could not be used .*: is it running, as a member of the replica set rs0 .*ECONNREFUSED[^"]*","msg":"the start waits for MongoDB"/
  await eventually(() => waits.test(output.stdout), 20_000, 'the line')
  t.notMatch(output.stdout, /8002/)
  await part.start()
  await eventually(() => output.stdout.split('Server listening').length === 3, 30_000, 'a service that listens')
  child.kill('SIGTERM')
  t.match(await ended, { code: 0, stderr: '' })
})

t.test('an index that takes longer to build than any answer may is waited for', async (t) => {
  const client = await connectMongo(t, parts.mongoUrl)
  await failCommand(t, client, ['createIndexes'], { blockConnection: true, blockTimeMS: 3_000, appName: 'slow' })
  const service = await startService(t, {
    MONGO_URL: `${databaseUrl(newNamespace())}&socketTimeoutMS=1000&appName=slow`,
    REDIS_URL: 'off',
    KAFKA_BROKERS: 'off'
  })
  t.equal((await post(service.url)).status, 201)
})

t.test("options of MONGO_URL win, or the start says which don't", async (t) => {
  const namespace = newNamespace()
  const url = `${databaseUrl(namespace)}&maxPoolSize=5&appName=${namespace}&readPreference=secondary&readPreferenceTags=dc:ny&w=1&retryWrites=true`
  const { output, child, ended } = forkService(t, environment(url))
  const lines = () => output.stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line))
  const listening = await eventually(
    () =>
      lines().find(
        ({ msg }) =>
          /^Server listening/.test(msg) && lines().filter(({ msg }) => /^Server listening/.test(msg)).length === 2
      ),
    30_000
  )
  const urls = lines().flatMap(({ msg }) => /^Server listening at (.*)$/.exec(msg)?.[1] ?? [])
  t.ok(listening)
  t.match(
    lines().filter(({ options }) => options !== undefined),
    [{ level: 40, options: ['readPreference', 'readPreferenceTags', 'w'] }]
  )
  const answers = await Promise.all(Array.from({ length: 100 }, () => post(urls[1]!)))
  t.ok(answers.every(({ status }) => status === 201))
  const admin = (await connectMongo(t, parts.mongoUrl)).db('admin')
  const connections = await admin
    .aggregate([{ $currentOp: { allUsers: true, idleConnections: true } }, { $match: { appName: namespace } }])
    .toArray()
  t.ok(
    connections.length >= 1 && connections.length <= 8,
    `${connections.length} connections, with those that watch the server`
  )
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)
  t.match(
    (await refused(t, `${databaseUrl(namespace)}&maxPoolSize=4`)).line,
    /^maxPoolSize=4 in MONGO_URL is too small: the service needs 5 connections$/
  )
})

t.test("a database of MongoDB's own is one line that says what would be right", async (t) => {
  for (const name of ['admin', 'local', 'config', 'Admin']) {
    const { line } = await refused(t, databaseUrl(name))
    t.match(
      line,
      new RegExp(
        `^MONGO_URL ends in /${name}, which is a database of MongoDB's own: name one for the orders, as in mongodb://host/orders\\?authSource=admin`,
        'i'
      )
    )
  }
})

t.test('a mongos and a secondary are refused', async (t) => {
  for (const [hello, message] of [
    [{ msg: 'isdbgrid' }, /^MONGO_URL leads to a mongos/],
    [{ setName: 'rs0', secondary: true }, /^MONGO_URL connects directly to a secondary/]
  ] as const) {
    const client = { connect: async () => {}, db: () => ({ command: async () => hello }) } as unknown as MongoClient
    await t.rejects(waitForMongo({ client, database: 'orders', url: 'mongodb://host/', log: undefined as never }), {
      name: 'StartupError',
      message
    })
  }
})

t.test(
  "unique indexes that are not the service's own are named, and one of its name with another definition is refused",
  async (t) => {
    const namespace = newNamespace()
    const collection = (await connectMongo(t, parts.mongoUrl)).db(namespace).collection('orders')
    await collection.createIndex({ orderNumber: 1 }, { unique: true })
    await collection.createIndex({ createdAt: 1 })
    const { output, child, ended } = forkService(t, environment(databaseUrl(namespace)))
    await eventually(() => output.stdout.includes('"indexes":["orderNumber_1"]'), 30_000, 'the line')
    child.kill('SIGTERM')
    await ended
    const other = (await connectMongo(t, parts.mongoUrl)).db(newNamespace()).collection('orders')
    await other.createIndex(IDEMPOTENCY_INDEX.key, { name: 'idempotency' })
    t.match(
      (await refused(t, databaseUrl(other.dbName))).line,
      /^MongoDB at .*: An existing index has the same name as the requested index/
    )
  }
)

async function startStandalone (t: Test): Promise<{ host: string, password: string }> {
  const local = await startLocalParts({
    dir: newFolder(t),
    parts: ['mongo'],
    progress: 'silent',
    mongoReplicaSet: false,
    mongoArgs: ['--auth']
  })
  t.teardown(() => local.stop())
  t.strictSame(local.missing, [])
  const password = 'right-password'
  const client = new MongoClient(local.urls.mongo!)
  await client.db('admin').command({ createUser: 'admin', pwd: password, roles: ['root'] })
  await client.close()
  return { host: new URL(local.urls.mongo!).host, password }
}
