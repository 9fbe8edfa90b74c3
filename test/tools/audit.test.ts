import { ObjectId, type Collection, type Document } from 'mongodb'
import t, { type Test } from 'tap'
import { toDocument, toRecord, type OrderDocument } from '../../src/models.ts'
import { traceparentOf } from '../../src/traceparent.ts'
import type { Finding, Kind } from '../../tools/audit-report.ts'
import { audit } from '../../tools/audit-run.ts'
import {
  aNewOrder,
  collectEvents,
  eventually,
  newNamespace,
  parts,
  post,
  settingsFor,
  startService,
  type RunningService
} from '../helper.ts'
import { put } from '../support/relays.ts'
import { fork, kafka, run } from '../support/tools.ts'

type Report = { clean: boolean, records: number, orders: number, legacy: number, replayed: number } & Record<
  Kind,
  Finding
>

/** At once, with no grace unless the arguments say so. */
async function auditOf (namespace: string, ...args: string[]): Promise<{ code: number, report: Report }> {
  const { code, out, err } = await run(audit, namespace, ['--json', '--grace', '0', ...args])
  if (out === '') throw new Error(err)
  return { code, report: JSON.parse(out) }
}

/** A leader that has told `count` orders. */
async function startLeader (t: Test, count = 3) {
  const service = await startService(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const ids: string[] = []
  for (let i = 0; i < count; i++) ids.push((await post(service.url)).body._id)
  await collected.forOrders(ids)
  const orders: Collection<Document> = service.db.collection('orders')
  return { ...service, collected, ids, orders }
}

/** An order that the relay has passed over: when it was inserted it looked like an older service's. */
async function loseEvent ({ orders, url, collected }: Awaited<ReturnType<typeof startLeader>>): Promise<OrderDocument> {
  const document = toDocument(aNewOrder, traceparentOf(undefined))
  const { traceparent, ...legacy } = document
  await orders.insertOne(legacy)
  await collected.forOrders([(await post(url)).body._id])
  await orders.updateOne({ _id: document._id }, { $set: { traceparent } })
  return document
}

/** MongoDB knows how far the relay is only from the next renewal of its lease on. */
async function positionIsKept ({ db, namespace, api }: RunningService): Promise<void> {
  const reached = api.relay!.position?.token
  await eventually(async () => {
    const lease = await db.collection<Document & { _id: string }>('relay').findOne({ _id: `lease:${namespace}` })
    return JSON.stringify(lease?.position?.token) >= JSON.stringify(reached)
  }, 10_000, 'a renewed lease')
}

t.test("orders that were each published once are clean, and an older service's are counted apart", async (t) => {
  const { namespace, orders, ids } = await startLeader(t, 20)
  await orders.insertMany([{ userId: 'before' }, { _id: 'order-1' as never }])
  const { code, report } = await auditOf(namespace)
  t.equal(code, 0)
  t.match(report, { clean: true, records: ids.length, orders: ids.length, legacy: 1, replayed: 0 })
  for (const kind of [
    'missing',
    'duplicate',
    'unknown',
    'invalid',
    'pending',
    'young',
    'unknowable',
    'beforeTopic'
  ] as const) { t.strictSame(report[kind], { count: 0, first: [] }, kind) }
})

t.test(
  'an order without an event is missing once it is older than the grace, in the time that is asked for',
  async (t) => {
    const leader = await startLeader(t)
    const lost = await loseEvent(leader)
    await positionIsKept(leader)
    const { code, report } = await auditOf(leader.namespace)
    t.equal(code, 1)
    t.match(report, {
      clean: false,
      missing: { count: 1, first: [String(lost._id)] },
      unknown: { count: 0 },
      pending: { count: 0 }
    })
    t.match((await auditOf(leader.namespace, '--grace', '30')).report, {
      clean: true,
      missing: { count: 0 },
      young: { count: 1 }
    })

    const at = (seconds: number): string => new Date(lost._id.getTimestamp().getTime() + seconds * 1000).toISOString()
    t.match((await auditOf(leader.namespace, '--since', at(0), '--until', at(1))).report, {
      missing: { count: 1 },
      unknown: { count: 0 }
    })
    t.match((await auditOf(leader.namespace, '--since', at(60))).report, { clean: true, orders: 0 })
    t.match((await auditOf(leader.namespace, '--until', at(-60))).report, { clean: true, orders: 0 })
  }
)

t.test('a repair sends what is missing once, as the relay would have, next to a relay that goes on', async (t) => {
  const leader = await startLeader(t)
  const { namespace, collected, url, db } = leader
  const lost = [await loseEvent(leader), await loseEvent(leader)].map((document) => ({
    ...document,
    id: String(document._id)
  }))
  const epoch = async () =>
    (await db.collection<Document & { _id: string }>('relay').findOne({ _id: `lease:${namespace}` }))!.epoch
  const before = await epoch()

  const posting = new AbortController()
  const posted: string[] = []
  const sender = (async () => { while (!posting.signal.aborted) posted.push((await post(url)).body._id) })()
  const { code, report } = await auditOf(namespace, '--repair')
  posting.abort()
  await sender
  t.equal(code, 0)
  t.equal(report.repaired.count, 2)
  t.strictSame(report.repaired.first.toSorted(), lost.map(({ id }) => id).toSorted())
  t.match(report, { clean: true, missing: { count: 0 } })

  await collected.forOrders([...lost.map(({ id }) => id), ...posted])
  for (const { id, ...document } of lost) {
    const received = collected.events.filter(({ event }) => event.orderId === id)
    const { value, headers } = toRecord(document)
    t.strictSame(received.map(({ event, headers }) => ({ event, headers })), [{ event: JSON.parse(value), headers }])
  }
  t.equal(leader.api.relay!.leads, true)
  t.equal(await epoch(), before, 'the relay was not fenced, so it had no need to lead anew')

  const again = await auditOf(namespace, '--repair')
  t.match(again, { code: 0, report: { repaired: { count: 0 }, clean: true } })
  await collected.forOrders([(await post(url)).body._id])
  t.equal(
    new Set(collected.events.map(({ event }) => event.orderId)).size,
    collected.events.length,
    'nothing came twice'
  )
})

t.test('of two repairs at once each order is sent by one', async (t) => {
  const leader = await startLeader(t)
  const lost = String((await loseEvent(leader))._id)
  const results = await Promise.allSettled([
    auditOf(leader.namespace, '--repair'),
    auditOf(leader.namespace, '--repair')
  ])
  await auditOf(leader.namespace, '--repair')
  const { collected, url } = leader
  await collected.forOrders([lost, (await post(url)).body._id])
  t.match(
    (await auditOf(leader.namespace)).report,
    { missing: { count: 0 }, duplicate: { count: 0 } },
    JSON.stringify(results)
  )
})

t.test('what the relay has yet to come to is pending and not repaired, whatever the age of its id', async (t) => {
  const { namespace, close, collected } = await startLeader(t)
  await close()
  const away = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const { body: { _id: id } } = await post(away.url)
  // As when a backup is restored: an old order, new in the oplog.
  const old = { ...toDocument(aNewOrder, traceparentOf(undefined)), _id: new ObjectId('5f0000000000000000000001') }
  await away.db.collection('orders').insertOne(old)
  const ids = [id, String(old._id)]
  for (const args of [[], ['--repair']]) {
    const { code, report } = await auditOf(namespace, ...args)
    t.equal(code, 0)
    t.match(report, { clean: true, missing: { count: 0 }, pending: { count: 2 }, repaired: { count: 0 } })
    t.strictSame(report.pending.first.toSorted(), ids.toSorted())
  }
  await away.close()
  const back = await startService(t, {}, namespace)
  await collected.forOrders([...ids, (await post(back.url)).body._id])
  t.equal(
    collected.events.length,
    new Set(collected.events.map(({ event }) => event.orderId)).size,
    'each is told once'
  )
})

t.test('a second event, an event of no order and records that are no events are found', async (t) => {
  const { namespace, ids, orders } = await startLeader(t, 4)
  const [twice, misnamed, changed, unreadable] = await Promise.all(
    ids.map(async (id) => (await orders.findOne({ _id: new ObjectId(id) })) as OrderDocument)
  )
  const foreign = toDocument(aNewOrder, traceparentOf(undefined))
  const record = toRecord(toDocument(aNewOrder, traceparentOf(undefined)))
  await put(namespace, [
    toRecord(twice!),
    toRecord(foreign),
    { ...record, key: String(misnamed!._id) },
    { ...toRecord(unreadable!), value: '{' },
    { key: 'x', value: null }
  ] as never)
  await orders.updateOne({ _id: changed!._id }, { $set: { userId: 'another' } })
  const { code, report } = await auditOf(namespace)
  t.equal(code, 1)
  t.match(report, {
    missing: { count: 0 },
    duplicate: { count: 1, first: [String(twice!._id)] },
    unknown: { count: 1, first: [String(foreign._id)] },
    invalid: { count: 4 }
  })
  for (const reason of [
    /its key, ce_id and order id differ/,
    /value is not JSON/,
    new RegExp(`^${changed!._id}: its payload differs`)
  ]) {
    t.ok(
      report.invalid.first.some((each) => reason.test(each)),
      String(reason)
    )
  }
  const { out } = await run(audit, namespace, [])
  t.match(out, /^duplicate: 1 orders with more than one event\n {2}[0-9a-f]{24}$/m)
  t.match(out, /NOT CLEAN\n$/)
})

t.test('an order whose only record is invalid is not sent again', async (t) => {
  const leader = await startLeader(t)
  const lost = await loseEvent(leader)
  await put(leader.namespace, [{ ...toRecord(lost), value: '{}' }] as never)
  t.match((await auditOf(leader.namespace, '--repair')).report, {
    invalid: { count: 1 },
    missing: { count: 0 },
    repaired: { count: 0 }
  })
})

t.test('what retention has removed is unknowable, not missing, and not repaired', async (t) => {
  const leader = await startLeader(t, 12)
  const { namespace, ids } = leader
  await positionIsKept(leader)
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const ends = await admin.fetchTopicOffsets(namespace)
  const { partition, high } = ends.toSorted((a, b) => Number(b.high) - Number(a.high))[0]!
  await admin.deleteTopicRecords({ topic: namespace, partitions: [{ partition, offset: high }] })
  for (const args of [[], ['--repair']]) {
    const { code, report } = await auditOf(namespace, ...args)
    t.equal(code, 0)
    t.match(report, { orders: ids.length, missing: { count: 0 }, repaired: { count: 0 } })
    t.equal(report.unknowable.count, ids.length - report.records)
    t.ok(report.unknowable.count > 0)
  }
})

t.test('orders from before the topic was used are told apart and not sent to it', async (t) => {
  const leader = await startLeader(t)
  const early = { ...toDocument(aNewOrder, traceparentOf(undefined)), _id: new ObjectId('5f0000000000000000000001') }
  const { traceparent, ...legacy } = early
  await leader.orders.insertOne(legacy)
  await loseEvent(leader)
  await leader.orders.updateOne({ _id: early._id }, { $set: { traceparent } })
  t.match((await auditOf(leader.namespace, '--repair')).report, {
    beforeTopic: { count: 1, first: [String(early._id)] },
    repaired: { count: 1 },
    missing: { count: 0 }
  })
})

t.test("what can't be run is one line and exit code 2", async (t) => {
  const namespace = newNamespace()
  const WRONG: [args: string[], settings: object, line: RegExp][] = [
    [
      ['--since', 'yesterday'],
      {},
      /^--since must be a time as 2026-11-22T10:00:00Z or 2026-11-22\. Usage: npm run audit/
    ],
    [['--since', '2026-02-02', '--until', '2026-02-01'], {}, /^--since must be before --until\. Usage/],
    [['--grace', '-1'], {}, /--grace/],
    [['--fix'], {}, /^Unknown option '--fix'.* Usage/],
    [['today'], {}, /^Unexpected argument 'today'.* Usage/],
    [[], {}, new RegExp(`^there is no topic ${namespace}: is KAFKA_TOPIC right\\?\\n$`)],
    [['--repair'], {}, /^no service has used the topic \S+ with this database yet/],
    [[], { KAFKA_BROKERS: 'off', MONGO_URL: '' }, /^MONGO_URL and KAFKA_BROKERS must say where the service's data is/],
    [[], { KAFKA_TOPIC: 'a topic' }, /^KAFKA_TOPIC must be: topic/],
    [[], { KAFKA_BROKERS: '127.0.0.1:9' }, /127\.0\.0\.1:9|Kafka/]
  ]
  for (const [args, settings, line] of WRONG) {
    const { code, out, err } = await run(audit, namespace, args, settings)
    t.strictSame([code, out], [2, ''], args.join(' '))
    t.match(err, line)
    t.equal(err.split('\n').length, 2, 'in one line')
  }
})

t.test('as a process it prints one JSON object and ends with the exit code', async (t) => {
  const leader = await startLeader(t)
  const settings = {
    MONGO_URL: settingsFor(leader.namespace).MONGO_URL!,
    KAFKA_BROKERS: parts.kafkaBrokers,
    KAFKA_TOPIC: leader.namespace,
    NODE_ENV: 'production'
  }
  const clean = await fork(t, 'audit', ['--json'], settings)
  t.equal(clean.code, 0, clean.err)
  t.match(JSON.parse(clean.out), { clean: true, orders: 3 })
  t.equal(clean.out.split('\n').length, 2)
  await loseEvent(leader)
  await positionIsKept(leader)
  t.equal((await fork(t, 'audit', ['--grace', '0'], settings)).code, 1)
  t.equal((await fork(t, 'audit', [], {})).code, 2)
})
