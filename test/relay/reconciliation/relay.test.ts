import { BSON, ObjectId, Timestamp, type Collection } from 'mongodb'
import t, { type Test } from 'tap'
import { clusterTimeOf } from '../../../src/mongo/change-event.ts'
import { checkpointTopicOf } from '../../../src/relay/checkpoint/checkpoint.ts'
import { createIdSet } from '../../../src/relay/reconciliation/id-set.ts'
import type { LeaseDocument } from '../../../src/mongo/lease.ts'
import { afterWriting } from '../../../src/relay/checkpoint/topic-identity.ts'
import { collectEvents, eventually } from '../../helper.ts'
import { deleteTopic, idsOf, insert, newSetting, startRelay } from '../../support/relays.ts'

/*
 * The relay alone, without a service around it: orders are put into MongoDB by the test, as old as it wants them to be.
 */

const HOUR_MS = 3_600_000

/** Orders that a relay published, and the topic of its checkpoints gone. */
async function lostCheckpoint (t: Test, published: number) {
  const setting = await newSetting(t)
  const { relay } = startRelay(t, setting)
  await eventually(() => relay.leads, 30_000, 'a leader')
  const told = await insert(setting.orders, published)
  const collected = await collectEvents(t, setting.namespace)
  await collected.forOrders(told)
  await relay.stop()
  await setting.leases.updateOne({ _id: 'lease' }, { $set: { final: false } }) // as if it had been killed
  await deleteTopic(checkpointTopicOf(setting.namespace))
  return { ...setting, told, collected }
}

/** Makes the copy of the position say that it was written so long ago. */
async function ageCopy (leases: Collection<LeaseDocument>, ageMs: number): Promise<void> {
  const then = new Date(Date.now() - ageMs)
  await leases.updateOne(
    { _id: 'lease' },
    {
      $set: {
        'position.operationTime': { t: Math.floor(then.getTime() / 1000), i: 1 },
        'position.at': then.toISOString()
      },
      $unset: { 'position.token': 1 }
    }
  )
}

t.test('a relay that dies in the midst of a reconciliation still sends each order once', async (t) => {
  const { told, collected, ...setting } = await lostCheckpoint(t, 50)
  const untold = await insert(setting.orders, 2_500)
  let deaths = 0
  const { relay, counts } = startRelay(t, setting, {}, (result) => {
    // What is committed is not known to the next leadership.
    if (result === 'sent' && deaths++ < 2) throw new Error('dead, just after a transaction')
  })
  await eventually(() => relay.leads, 30_000, 'a leader')
  t.ok(deaths >= 2)
  t.equal(counts.sent, 2_500)
  const [later] = await insert(setting.orders, 1)
  t.strictSame(idsOf(await collected.forOrders([...told, ...untold, later!])), [...told, ...untold, later!].sort())
})

t.test('with room for few ids it takes more passes over the topic, to the same end', async (t) => {
  const { told, collected, ...setting } = await lostCheckpoint(t, 20)
  await ageCopy(setting.leases, 5 * HOUR_MS)
  const untold = [
    ...(await insert(setting.orders, 20, 3 * HOUR_MS)),
    ...(await insert(setting.orders, 7, 1.5 * HOUR_MS)),
    ...(await insert(setting.orders, 10))
  ]
  const { relay, counts } = startRelay(t, setting, { idsMax: 7 })
  await eventually(() => relay.leads, 30_000, 'a leader')
  t.match(counts, { found: 20, sent: 37 })
  const [later] = await insert(setting.orders, 1)
  t.strictSame(idsOf(await collected.forOrders([...told, ...untold, later!])), [...told, ...untold, later!].sort())
})

t.test(
  'on another topic than before, orders are sent that are younger than all that was published, and only they',
  async (t) => {
    const { told, ...setting } = await lostCheckpoint(t, 3)
    await setting.orders.deleteMany({})
    await deleteTopic(setting.namespace)
    await ageCopy(setting.leases, 5 * HOUR_MS)
    const before = await insert(setting.orders, 4, 7 * HOUR_MS)
    const around = await insert(setting.orders, 5, 4.5 * HOUR_MS)
    const behind = await insert(setting.orders, 6, 3 * HOUR_MS)
    const waiting = startRelay(t, setting)
    t.equal(await eventually(() => waiting.counts.unknowable, 30_000, 'unknowable orders'), around.length)
    await waiting.relay.stop()
    t.equal(waiting.counts.sent, 0, 'nothing before the choice')

    const { relay, counts } = startRelay(t, setting, { unknowable: 'skip' })
    await eventually(() => relay.leads, 30_000, 'a leader')
    t.match(counts, { skipped: around.length, sent: behind.length, unknowable: 0 })
    const [later] = await insert(setting.orders, 1)
    const collected = await collectEvents(t, setting.namespace)
    t.strictSame(idsOf(await collected.forOrders([...behind, later!])), [...behind, later!].sort())
    t.equal(before.length + told.length, 7, 'older ones were published, whatever the topic holds')
  }
)

t.test('a change event says when it was made, raw or not', async (t) => {
  const clusterTime = new Timestamp({ t: 4_000_000_000, i: 4_000_000_001 })
  const event = { _id: { _data: '82' }, clusterTime, fullDocument: {} }
  for (const form of [event, Buffer.from(BSON.serialize(event))]) {
    t.strictSame(clusterTimeOf(form), { t: 4_000_000_000, i: 4_000_000_001 })
  }
  for (const form of [{ _id: 7 }, Buffer.from(BSON.serialize({ _id: {}, fullDocument: {} }))]) {
    t.throws(() => clusterTimeOf(form), TypeError)
  }
})

t.test('a record in the place of an older one shows that the topic was created again', async (t) => {
  const identity = { clusterId: 'a', since: 5, ends: [10, 20] }
  t.strictSame(afterWriting(identity, [{ partition: 1, offset: 21, count: 3 }]), {
    clusterId: 'a',
    since: 5,
    ends: [10, 24]
  })
  const again = afterWriting(identity, [{ partition: 1, offset: 0, count: 3 }])
  t.strictSame(again.ends, [0, 3], 'the other partitions are new too')
  t.ok(again.since > 5)
})

t.test('a set of ids finds what was added, in the order of adding', async (t) => {
  const added = Array.from({ length: 3_000 }, () => new ObjectId())
  const set = createIdSet(3_000)
  for (const id of added) set.add(id)
  t.ok(set.full)
  t.throws(() => set.add(new ObjectId()), RangeError)
  for (const id of added.slice(0, 2_998)) set.mark(id.toHexString())
  for (const other of ['f'.repeat(24), '0'.repeat(24), 'no id', '']) set.mark(other)
  t.strictSame([...set.unmarked()], added.slice(2_998).map((id) => id.toHexString()))
  t.equal(set.last(), added.at(-1)!.toHexString())
  const unordered = createIdSet(2)
  unordered.add(added[1]!)
  t.throws(() => unordered.add(added[0]!), RangeError)
})
