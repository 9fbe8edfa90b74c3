import t, { type Test } from 'tap'
import { MongoClient } from 'mongodb'
import { startLocalParts } from '../local/index.ts'
import { failingStart, newFolder } from './forked-service.ts'

/** One that can't be used ends the start, however it is wrong. */
const refused = (t: Test, MONGO_URL: string) =>
  failingStart(t, { MONGO_URL, REDIS_URL: 'off', KAFKA_BROKERS: 'off', PORT: '0', METRICS_PORT: '0', LOG_LEVEL: 'warn' })

t.test('with a MongoDB that runs alone the start ends with one line that says how to make it a replica set', { timeout: 60_000 }, async (t) => {
  const { host, password } = await startStandalone(t)
  const { line } = await refused(t, `mongodb://admin:${password}@${host}/?authSource=admin`)
  t.match(line, /^MongoDB in MONGO_URL runs alone, .* start mongod with --replSet rs0 and run rs\.initiate\(\) once$/)

  for (const credentials of ['admin:wrong-password', 'nobody:wrong-password']) {
    const { line } = await refused(t, `mongodb://${credentials}@${host}/?authSource=admin`)
    t.match(line, /^MongoDB at 127\.0\.0\.1:\d+ refused the user of MONGO_URL: Authentication failed\. Check user, password and authSource$/)
    t.notMatch(line, /wrong-password/)
  }
})

t.test('with no MongoDB the start ends after 10 s with one line that says what was tried', { timeout: 60_000 }, async (t) => {
  const before = performance.now()
  const [alone, inSet] = await Promise.all([
    refused(t, 'mongodb://user:secret@127.0.0.1:1/'),
    refused(t, 'mongodb://127.0.0.1:1,127.0.0.1:2/shop?replicaSet=rs7')
  ])
  t.ok(performance.now() - before < 25_000, 'and no later')
  t.match(alone.line, /^MongoDB at 127\.0\.0\.1:1 could not be used within 10 s: is it running, and MONGO_URL right\? \(connect ECONNREFUSED 127\.0\.0\.1:1\)$/)
  t.match(inSet.line, /^MongoDB at 127\.0\.0\.1:1,127\.0\.0\.1:2 could not be used within 10 s: is it running, as a member of the replica set rs7 that was initiated\?/)
})

async function startStandalone (t: Test): Promise<{ host: string, password: string }> {
  const local = await startLocalParts({ dir: newFolder(t), parts: ['mongo'], progress: 'silent', mongoReplicaSet: false, mongoArgs: ['--auth'] })
  t.teardown(() => local.stop())
  t.strictSame(local.missing, [])
  const password = 'right-password'
  const client = new MongoClient(local.urls.mongo!)
  await client.db('admin').command({ createUser: 'admin', pwd: password, roles: ['root'] })
  await client.close()
  return { host: new URL(local.urls.mongo!).host, password }
}
