import t, { type Test } from 'tap'
import { createLease, leaseName, type LeaseDocument, type LeaseOptions } from '../../src/mongo/lease.ts'
import { connectMongo, forkService, leads } from '../support/faults.ts'
import { collectEvents, eventually, newNamespace, parts, post, startService } from '../helper.ts'
import { createLog } from '../support/relays.ts'

const HOUR_MS = 3_600_000

async function newLeases (t: Test) {
  const collection = (await connectMongo(t, parts.mongoUrl)).db(newNamespace()).collection<LeaseDocument>('relay')
  const { lines, matching, log } = createLog()
  const create = (owner: string, options: Partial<LeaseOptions> = {}) =>
    createLease({ collection, name: 'lease', owner, log, ...options })
  const stored = () => collection.findOne({ _id: 'lease' })
  return { collection, create, stored, lines, matching }
}

const never = new AbortController().signal

t.test("a lease that ends an hour from now, by MongoDB's clock, is free", async (t) => {
  const namespace = newNamespace()
  const leases = (await connectMongo(t, parts.mongoUrl)).db(namespace).collection<LeaseDocument>('relay')
  const expiresAt = new Date(Date.now() + HOUR_MS)
  await leases.insertOne({ _id: leaseName(namespace), owner: 'another', expiresAt, epoch: 5 })
  const service = await startService(t, {}, namespace)
  await eventually(() => service.api.relay?.leads, 10_000, 'a leader')
  const { body: { _id } } = await post(service.url)
  await (await collectEvents(t, namespace)).forOrders([_id])
  t.equal((await leases.findOne({ _id: leaseName(namespace) }))!.epoch, 6)
})

t.test('a lease that is held is taken when it ends, not before', async (t) => {
  const { create, stored } = await newLeases(t)
  const began = performance.now()
  await create('first').acquire(never)
  const { expiresAt } = (await stored())!
  await create('second').acquire(never)
  t.ok(performance.now() - began > 4_500, 'after 5 s')
  const { owner, expiresAt: until } = (await stored())!
  t.equal(owner, 'second')
  t.ok(until.getTime() - 5_000 >= expiresAt.getTime())
})

t.test('while nobody leads, a waiting process says once in a while who holds the lease, and until when', async (t) => {
  const { create, collection, matching, stored } = await newLeases(t)
  await create('first').acquire(never)
  const end = new AbortController()
  t.teardown(() => end.abort())
  const keep = async (leads: boolean): Promise<void> => {
    await collection.updateOne({ _id: 'lease' }, { $set: { leads, expiresAt: new Date(Date.now() + 8_000) } })
  }
  await keep(true)
  const waiting = create('second', { withoutLeaderMs: 1_500, lookMs: 100 }).acquire(end.signal)
  const began = performance.now()
  await eventually(async () => {
    await keep(true)
    return performance.now() - began > 2_500
  })
  t.equal(matching(/./).length, 0, 'nothing while there is a leader')
  await keep(false)
  const line = await eventually(() => matching(/no process has published/)[0], 5_000, 'a line')
  t.equal(line.level, 'warn')
  t.match(line.msg, /no process has published events for 1.5 s: the lease lease is held by first, whose log says why/)
  t.strictSame(line.fields, { lease: 'lease', holder: 'first', until: (await stored())!.expiresAt })
  t.equal(matching(/no process has published/).length, 1)
  end.abort()
  t.equal(await waiting, undefined)
})

t.test('a lease whose document is gone, as its database was dropped, is taken by a waiting process', async (t) => {
  const { create, collection, stored } = await newLeases(t)
  await create('first').acquire(never)
  const waiting = create('second', { lookMs: 100 }).acquire(AbortSignal.timeout(10_000))
  await collection.drop()
  t.ok(await waiting)
  t.equal((await stored())?.owner, 'second')
})

t.test('the last hundred holders are remembered, latest first and each once', async (t) => {
  const { create, stored } = await newLeases(t)
  for (let number = 0; number < 103; number++) {
    const lease = create(`holder-${number}`)
    await lease.acquire(never)
    await lease.release(undefined, true)
  }
  for (const owner of ['holder-101', 'holder-101']) {
    const lease = create(owner)
    await lease.acquire(never)
    await lease.release(undefined, true)
  }
  const { owners } = (await stored())!
  t.equal(owners!.length, 100)
  t.strictSame(owners!.slice(0, 3), ['holder-101', 'holder-102', 'holder-100'])
  t.equal(owners!.at(-1), 'holder-3')
})

t.test("a lease that was given back in order is final, one of a killed process isn't", async (t) => {
  const namespace = newNamespace()
  const leases = (await connectMongo(t, parts.mongoUrl)).db(namespace).collection<LeaseDocument>('relay')
  const lease = () => leases.findOne({ _id: leaseName(namespace) })
  const first = await forkService(t, {}, namespace)
  await eventually(() => leads(first), 30_000, 'a leader')
  const { body: { _id } } = await post(first.url)
  await (await collectEvents(t, namespace)).forOrders([_id])
  first.signal('SIGTERM')
  await first.exit
  t.match(await lease(), { final: true, owner: '', leads: false, position: { orderId: _id } })

  const second = await forkService(t, {}, namespace)
  await eventually(async () => (await lease())?.leads, 30_000, 'a leader that says so in its lease')
  await second.kill()
  t.match(await lease(), { final: false, leads: true })
})
