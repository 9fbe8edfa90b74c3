import { setImmediate as nextTurn } from 'node:timers/promises'
import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { connectMongo, startOwnPart } from '../support/faults.ts'
import {
  aNewOrder,
  databaseUrl,
  eventually,
  metric,
  newNamespace,
  parts,
  post,
  request,
  startService,
  type RunningService
} from '../helper.ts'

const part = await startOwnPart(t, 'mongo')

/** Without its process cache, so that each GET shows what Redis and MongoDB do. */
async function start (t: Test, url = part.url, namespace = newNamespace()): Promise<RunningService> {
  const service = await startService(
    t,
    { MONGO_URL: databaseUrl(namespace, url), KAFKA_BROKERS: 'off', CACHE_BYTES_MAX: 0 },
    namespace
  )
  await eventually(() => service.api.redisTier?.usable, 10_000, 'a Redis that is used')
  return service
}

async function cached (service: RunningService, id: string): Promise<void> {
  await request(`${service.url}/${id}`)
  await eventually(() => service.api.redis.exists(service.api.redisTier!.keyOf(id)), 5_000, 'the order in Redis')
}

t.test('what Redis has is served while MongoDB hangs, whatever other ids are asked for', async (t) => {
  const service = await start(t)
  const { body: { _id: id } } = await post(service.url)
  await cached(service, id)
  part.pause()
  t.teardown(() => part.resume())
  let answered = 0
  const unknown: Promise<void>[] = []
  // In one batch with it, and, one a turn, in as many batches as there may be at work.
  for (let count = 0; count < 12; count++) {
    unknown.push(request(`${service.url}/${new ObjectId()}`).then(({ status, body }) => {
      answered++
      t.match({ status, body }, { status: 503, body: { code: 'STORE_UNAVAILABLE' } })
    }))
    t.equal((await request(`${service.url}/${id}`)).status, 200)
    await nextTurn()
  }
  t.equal(answered, 0, 'all of them while MongoDB was asked for the others')
  await Promise.all(unknown)
})

t.test('an order that the primary has is no 404 while it is not known to be committed', async (t) => {
  const service = await start(t)
  const admin = (await connectMongo(t, part.url)).db('admin')
  const snapshots = (mode: 'alwaysOn' | 'off') => admin.command({ configureFailPoint: 'disableSnapshotting', mode })
  t.teardown(() => snapshots('off'))
  await snapshots('alwaysOn') // as just after an election, when a majority has yet to follow the new primary
  const order = { _id: new ObjectId(), ...aNewOrder, createdAt: new Date(), updatedAt: new Date() }
  await service.db.collection('orders').insertOne(order, { writeConcern: { w: 1 } })
  const uncommitted = await service.db.collection('orders').findOne({ _id: order._id }, { readConcern: 'majority' })
  t.equal(uncommitted, null, 'a read of what is committed lacks it')
  let status: number | undefined
  const answer = request(`${service.url}/${order._id}`).then((answer) => { status = answer.status })
  const misses = 'cache_requests_total{tier="mongodb",result="miss"}'
  await eventually(async () => (await metric(service, misses) ?? 0) >= 2, 10_000, 'that it is asked for again')
  t.equal(status, undefined)
  t.equal((await request(`${service.url}/${new ObjectId()}`)).status, 404, 'one that it has not is')
  await snapshots('off')
  await service.db.collection('orders').insertOne({ _id: new ObjectId() }) // which moves the snapshot
  await answer
  t.equal(status, 200)
})

t.test('installations of the same names never see each other in one Redis', async (t) => {
  const namespace = newNamespace()
  const services = [await start(t, part.url, namespace), await start(t, parts.mongoUrl, namespace)]
  const _id = new ObjectId()
  for (const [index, service] of services.entries()) {
    await service.db
      .collection('orders')
      .insertOne({ _id, ...aNewOrder, userId: `of ${index}`, createdAt: new Date(), updatedAt: new Date() })
    await cached(service, String(_id))
  }
  for (const [index, service] of services.entries()) {
    t.equal((await request(`${service.url}/${_id}`)).body.userId, `of ${index}`)
  }
})
