import t, { type Test } from 'tap'
import type { CacheTier } from '../../src/reads/look-up.ts'
import { createOrderReads } from '../../src/reads/by-id.ts'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import { connectMongo } from '../support/faults.ts'
import { aNewOrder, eventually, newNamespace, parts } from '../helper.ts'

/** What is promised for a fix made by hand. */
const SHOWS_MS_MAX = 5_000
const TRACEPARENT = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`

async function startReads (t: Test) {
  const db = (await connectMongo(t, parts.mongoUrl)).db(newNamespace())
  const collection = db.collection<OrderDocument>('orders')
  const order = toDocument(aNewOrder, TRACEPARENT)
  const id = order._id.toHexString()
  await collection.insertOne(order)
  let fetched = 0
  const observe = { cache: (tier: CacheTier, hits: number) => { if (tier === 'mongodb') fetched += hits } }
  const reads = createOrderReads({ db, collection: 'orders', redis: undefined, bytesMax: 1_000_000, observe })
  return {
    id,
    reads,
    collection,
    userOf: async (): Promise<string> => JSON.parse(String(await reads.find(id))).userId,
    fix: () =>
      collection.updateOne({ _id: order._id }, { $set: { userId: 'fixed' } }, { writeConcern: { w: 'majority' } }),
    get fetched (): number {
      return fetched
    }
  }
}

t.test('an order is kept for as long as somebody follows the changes', async (t) => {
  const service = await startReads(t)
  service.reads.upToDate(performance.now())
  await service.userOf()
  const began = performance.now()
  await eventually(async () => {
    service.reads.upToDate(performance.now())
    await service.userOf()
    return performance.now() - began > SHOWS_MS_MAX
  })
  t.equal(service.fetched, 1)
  await service.fix()
  await service.reads.invalidate([service.id])
  t.equal(await service.userOf(), 'fixed')
})

t.test('a fix that no change stream reports shows within 5 s', async (t) => {
  for (const followed of ['never', 'no longer'] as const) {
    await t.test(`the changes are ${followed} followed`, async (t) => {
      const { reads, userOf, fix } = await startReads(t)
      if (followed === 'no longer') reads.upToDate(performance.now())
      t.equal(await userOf(), aNewOrder.userId)
      await fix()
      await eventually(async () => await userOf() === 'fixed', SHOWS_MS_MAX, 'the fix')
    })
  }
})

t.test('what is changed while it is fetched is not kept', async (t) => {
  for (const how of ['invalidate', 'forgetAll'] as const) {
    const { id, reads } = await startReads(t)
    reads.upToDate(performance.now())
    const fetching = reads.find(id)
    if (how === 'invalidate') await reads.invalidate([id])
    else reads.forgetAll()
    t.ok(await fetching, 'who asked before gets what was there')
    const again = reads.find(id)
    t.ok(again instanceof Promise, how)
    await again
    t.type(reads.find(id), 'string', 'and then it is kept again')
  }
})

t.test('after changes were missed nothing of before is served', async (t) => {
  const { id, reads } = await startReads(t)
  reads.upToDate(performance.now())
  await reads.find(id)
  t.type(reads.find(id), 'string')
  reads.forgetAll()
  const again = reads.find(id)
  t.ok(again instanceof Promise)
  await again
})

t.test('orders that together are more than an answer of MongoDB holds all come', async (t) => {
  const { reads, collection } = await startReads(t)
  const orders = Array.from({ length: 100 }, () => ({
    ...toDocument(aNewOrder, TRACEPARENT),
    userId: 'u'.repeat(300_000)
  }))
  await collection.insertMany(orders)
  const found = await Promise.all(orders.map(({ _id }) => reads.find(_id.toHexString())))
  t.ok(found.every((json) => json !== undefined))
})
