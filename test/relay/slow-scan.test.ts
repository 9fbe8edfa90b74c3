import t from 'tap'
import { whileAtWork } from '../../src/mongo/at-work.ts'
import { assertExactlyOnce, connectMongo, failCommand, forkService, leads, startOwnPart } from '../support/faults.ts'
import { collectEvents, databaseUrl, eventually, newNamespace, post } from '../helper.ts'

/* A change stream may have hours of other writes to look through before it answers. */

/** Longer than an answer is waited for without asking whether MongoDB is at work on it. */
const SLOW_MS = 12_000
/** How soon a MongoDB that hangs is given up. */
const GIVEN_UP_MS_MAX = 25_000

for (const command of ['aggregate', 'getMore'] as const) {
  t.test(`a relay whose ${command} takes 12 s leads and publishes, in one term`, async (t) => {
    const mongo = await startOwnPart(t, 'mongo')
    const client = await connectMongo(t, mongo.url)
    const namespace = newNamespace()
    await client.db(namespace).createCollection('orders')
    const data = { blockConnection: true, blockTimeMS: SLOW_MS, namespace: `${namespace}.orders` }
    await failCommand(t, client, [command], data, 'alwaysOn')
    const service = await forkService(t, { MONGO_URL: databaseUrl(namespace, mongo.url) }, namespace)
    await eventually(() => leads(service), 30_000, 'a leader')
    const collected = await collectEvents(t, namespace)
    const { body: { _id } } = await post(service.url)
    await collected.forOrders([_id], 40_000)
    await client.db('admin').command({ configureFailPoint: 'failCommand', mode: 'off' })
    await assertExactlyOnce(t, { client, namespace, ids: [_id], collected, url: service.url })
    t.equal(service.log.filter(({ msg }) => msg === 'the relay leads').length, 1)
    t.equal(service.log.filter(({ msg }) => /the relay tries again/.test(msg)).length, 0)
  })
}

t.test('a MongoDB that hangs is given up, and followed again once it answers', async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const namespace = newNamespace()
  const service = await forkService(t, { MONGO_URL: databaseUrl(namespace, mongo.url) }, namespace)
  await eventually(() => leads(service), 30_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  const { body: { _id } } = await post(service.url)
  await collected.forOrders([_id])
  mongo.pause()
  await eventually(async () => !await leads(service), GIVEN_UP_MS_MAX, 'the end of the leadership')
  mongo.resume()
  await eventually(() => leads(service), 30_000, 'a leader')
  const client = await connectMongo(t, mongo.url)
  await assertExactlyOnce(t, { client, namespace, ids: [_id], collected, url: service.url })
})

t.test("a command is waited for while MongoDB is at work on it, and given up once it isn't", async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const client = await connectMongo(t, mongo.url)
  const db = client.db(newNamespace())
  const data = { appName: 'test', blockConnection: true, blockTimeMS: 1_500, namespace: `${db.databaseName}.orders` }
  await failCommand(t, client, ['find'], data, 'alwaysOn')
  let givenUp = 0
  const giveUp = (): void => { givenUp++ }
  const command = db.command({ find: 'orders', comment: 'slow' })
  t.match(await whileAtWork({ db, comment: 'slow', msMax: 200, command, giveUp }), { ok: 1 })

  const lost = new Promise<never>(() => {}) // its connection died, and nobody said so
  const asked = performance.now()
  const late = /MongoDB's answer did not come within 200 ms/
  await t.rejects(whileAtWork({ db, comment: 'lost', msMax: 200, command: lost, giveUp }), late)
  t.ok(performance.now() - asked < 3_000)
  t.equal(givenUp, 1)
  const refused = Promise.reject(new Error('refused'))
  await t.rejects(whileAtWork({ db, comment: 'x', msMax: 200, command: refused, giveUp }), /refused/)
})
