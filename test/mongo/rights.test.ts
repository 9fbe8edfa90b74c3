import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MongoClient, type Document } from 'mongodb'
import t, { type Test } from 'tap'
import { startOwnPart } from '../support/faults.ts'
import { failingStart, forkService, newFolder } from '../support/forked-service.ts'
import { aNewOrder, eventually, post } from '../helper.ts'

const keyFile = join(newFolder(t), 'key')
writeFileSync(keyFile, 'a'.repeat(64), { mode: 0o600 })
const part = await startOwnPart(t, 'mongo', { mongoArgs: ['--auth', '--keyFile', keyFile] })
const { host } = new URL(part.url)

// The first user may be made without being one, from the same machine.
const first = new MongoClient(part.url)
await first.db('admin').command({ createUser: 'root', pwd: 'root', roles: ['root'] })
await first.close()
const root = await new MongoClient(`mongodb://root:root@${host}/?authSource=admin&replicaSet=rs0`).connect()
t.teardown(() => root.close())
const orders = root.db('orders')

const ON_ORDERS = ['find', 'insert', 'update', 'changeStream']
const ON_RELAY = ['find', 'insert', 'update']

async function newUser (name: string, rights: Record<string, string[]>): Promise<NodeJS.ProcessEnv> {
  const privileges = Object.entries(rights).map(([collection, actions]) => ({
    resource: { db: 'orders', collection },
    actions
  }))
  await orders.command({ createRole: name, privileges, roles: [] })
  await orders.command({ createUser: name, pwd: 'secret', roles: [name] })
  return {
    MONGO_URL: `mongodb://${name}:secret@${host}/orders?replicaSet=rs0`,
    REDIS_URL: 'off',
    KAFKA_BROKERS: 'off',
    HOST: '127.0.0.1',
    PORT: '0',
    METRICS_PORT: '0'
  }
}

async function start (t: Test, settings: NodeJS.ProcessEnv) {
  const service = forkService(t, settings)
  const [, url] = await eventually(() => {
    const urls = [...service.output.stdout.matchAll(/Server listening at ([^"]+)/g)].map(([, url]) => url!)
    return urls.length === 2 ? urls : undefined
  }, 30_000, 'a service that listens')
  return { ...service, url: url! }
}

const least = await newUser('least', { orders: ON_ORDERS, relay: ON_RELAY })

t.test("where the collection isn't there, a user who may not make its index is shown the right", async (t) => {
  const { line } = await failingStart(t, { ...least, LOG_LEVEL: 'error' })
  t.match(
    line,
    /^the user of MONGO_URL has no right to createCollection, createIndex on orders\.orders\. Grant it to a role/
  )
})

t.test('with the rights of docs/guides/kafka.md the service starts on nothing, and with fewer on what is there', async (t) => {
  const maker = await newUser('maker', { orders: [...ON_ORDERS, 'createIndex'], relay: ON_RELAY })
  for (const user of [maker, least]) {
    const { child, output, ended, url } = await start(t, user)
    const headers = { 'idempotency-key': 'key-1' }
    const { status, body } = await post(url, { ...aNewOrder, userId: user.MONGO_URL!.slice(10, 15) }, headers)
    t.equal(status, 201)
    t.equal((await fetch(`${url}/${body._id}`)).status, 200)
    child.kill('SIGTERM')
    t.match(await ended, { code: 0, stderr: '' })
    t.notMatch(output.stdout, /"level":[45]0/)
  }
})

t.test('an index for pages that may not be made is shown, and used once somebody has made it', async (t) => {
  const { child, output, ended, url } = await start(t, { ...least, ORDER_INDEXES: 'user' })
  const [, key, name] = await eventually(() =>
    /db\.orders\.createIndex\((\{.*?\}), \{name: '(\w+)'\}\)/.exec(output.stdout.replaceAll('\\"', '"')), 10_000, 'the command')
  const page = async (): Promise<number> => (await fetch(`${url}?userId=least`)).status
  t.equal(await page(), 503)
  await orders.collection('orders').createIndex(JSON.parse(key!), { name: name! })
  t.equal(await page(), 200)
  child.kill('SIGTERM')
  t.match(await ended, { code: 0 })
})

t.test('all rights that are missing are named, with the command that grants them', async (t) => {
  const reader = await newUser('reader', { orders: ['find'] })
  const { line } = await failingStart(t, { ...reader, LOG_LEVEL: 'error' })
  t.match(
    line,
    /^the user of MONGO_URL has no right to insert, update, changeStream on orders\.orders; find, insert, update on orders\.relay\. Grant/
  )
  t.notMatch(line, /password/)
  const [, privileges] = /grantPrivilegesToRole\('ROLE', (.*)\)$/.exec(line)!
  await orders.command({ grantPrivilegesToRole: 'reader', privileges: JSON.parse(privileges!) as Document[] })
  const { child, output } = forkService(t, reader)
  await eventually(() => output.stdout.split('Server listening').length === 3, 30_000, 'a service that listens')
  child.kill('SIGTERM')
})
