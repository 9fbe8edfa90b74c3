import type { Collection, Document } from 'mongodb'
import t, { type Test } from 'tap'
import { checkpointTopicOf } from '../../src/relay/checkpoint/checkpoint.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { leaseName } from '../../src/mongo/lease.ts'
import { toDocument } from '../../src/models.ts'
import { traceparentOf } from '../../src/traceparent.ts'
import { audit } from '../../tools/audit-run.ts'
import { aNewOrder, collectEvents, eventually, post, startService } from '../helper.ts'
import { createTopic, deleteTopic, kafka } from '../support/relays.ts'
import { run } from '../support/tools.ts'

async function auditOf (namespace: string, ...args: string[]) {
  const { code, out, err } = await run(audit, namespace, ['--json', '--grace', '0', ...args])
  if (out === '') throw new Error(err)
  return { code, report: JSON.parse(out) }
}

/** A leader that has published some orders at once. */
async function startLeader (t: Test, count: number) {
  const service = await startService(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const ids = await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
  await collected.forOrders(ids)
  await positionIsKept(service)
  await collected.stop()
  return { ...service, ids }
}

async function positionIsKept ({ api, db, namespace }: Awaited<ReturnType<typeof startService>>): Promise<void> {
  const reached = api.relay!.position!.seq!
  const leases = db.collection<Document & { _id: string }>('relay')
  await eventually(
    async () => (await leases.findOne({ _id: leaseName(namespace) }))!.position?.seq >= reached,
    10_000,
    'a renewed lease'
  )
}

// After one transaction alone the checkpoint says nothing yet of where its events are.
for (const [what, orders, end] of [
  ['beside a relay that leads', 12, async () => {}],
  ['while no relay runs', 1, async ({ close }: { close: () => Promise<void> }) => await close()]
] as const) {
  t.test(
    `the topic was deleted and made anew ${what}: a repair sends nothing of what was published on the old one`,
    async (t) => {
      const leader = await startLeader(t, orders)
      const { namespace, ids } = leader
      await end(leader)
      await deleteTopic(namespace)
      await createTopic({ topic: namespace, numPartitions: 3 })
      for (const args of [[], ['--repair'], ['--repair']]) {
        const { report } = await auditOf(namespace, ...args)
        t.match(
          report,
          { repaired: { count: 0 }, missing: { count: 0 }, unknowable: { count: ids.length } },
          args.join()
        )
      }
    }
  )
}

t.test('a repair sends nothing again after the relay has published to the topic that was made anew', async (t) => {
  const leader = await startLeader(t, 12)
  const { namespace, url, ids } = leader
  await deleteTopic(namespace)
  await createTopic({ topic: namespace, numPartitions: 3 })
  const after = await Promise.all(Array.from({ length: 12 }, async () => (await post(url)).body._id))
  const collected = await collectEvents(t, namespace)
  await collected.forOrders(after)
  await positionIsKept(leader)
  const { report } = await auditOf(namespace, '--repair')
  t.match(report, {
    repaired: { count: 0 },
    missing: { count: 0 },
    unknowable: { count: ids.length },
    duplicate: { count: 0 }
  })
})

t.test("a repair does nothing without the relay's checkpoint", async (t) => {
  const { namespace, close } = await startLeader(t, 3)
  await close()
  await deleteTopic(checkpointTopicOf(namespace))
  const { code, err } = await run(audit, namespace, ['--repair'])
  t.equal(code, 2)
  t.match(err, checkpointTopicOf(namespace))
})

t.test('partitions were added: what is missing is still missing, and is repaired once', async (t) => {
  const leader = await startLeader(t, 12)
  const { namespace, url, db } = leader
  const partitions = { topic: namespace, count: 6 }
  await withAdmin(kafka, 'partitions', (admin) => admin.createPartitions({ topicPartitions: [partitions] }))
  // When it was inserted it looked like an older service's, so the relay has passed over it.
  const { traceparent, ...legacy } = toDocument(aNewOrder, traceparentOf(undefined))
  const orders: Collection<Document> = db.collection('orders')
  await orders.insertOne(legacy)
  const { body: { _id: behind } } = await post(url)
  const collected = await collectEvents(t, namespace)
  await collected.forOrders([behind])
  await orders.updateOne({ _id: legacy._id }, { $set: { traceparent } })
  await positionIsKept(leader)
  const { report } = await auditOf(namespace)
  t.match(report, { missing: { count: 1, first: [String(legacy._id)] }, unknowable: { count: 0 } })
  t.match((await auditOf(namespace, '--repair')).report, {
    repaired: { count: 1 },
    unknowable: { count: 0 },
    clean: true
  })
  t.match((await auditOf(namespace, '--repair')).report, {
    repaired: { count: 0 },
    duplicate: { count: 0 },
    clean: true
  })
})
