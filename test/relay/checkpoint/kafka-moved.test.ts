import t, { type Test } from 'tap'
import { leaseName, type LeaseDocument } from '../../../src/mongo/lease.ts'
import { connectMongo, forkService, leads, startOwnPart } from '../../support/faults.ts'
import { collectEvents, eventually, metric, newNamespace, parts, post, startService } from '../../helper.ts'
import { idsOf } from '../../support/relays.ts'

async function postMany (service: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
}

/** Orders that were published to the first Kafka before its relay ended, and orders that were taken meanwhile. */
async function movedFrom (t: Test, end: 'SIGTERM' | 'SIGKILL') {
  const namespace = newNamespace()
  const first = await forkService(t, {}, namespace)
  await eventually(() => leads(first), 30_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  const before = await postMany(first, 10)
  await collected.forOrders(before)
  await collected.stop()
  // From the next renewal of its lease on MongoDB knows where it is.
  const leases = (await connectMongo(t, parts.mongoUrl)).db(namespace).collection<LeaseDocument>('relay')
  await eventually(
    async () => (await leases.findOne({ _id: leaseName(namespace) }))?.position?.orderId,
    10_000,
    'a position'
  )
  first.signal(end)
  await first.exit
  const between = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const meanwhile = await postMany(between, 10)
  await between.close()
  return { namespace, before, meanwhile }
}

t.test(
  'Kafka moved after the relay was stopped in order: orders since then are published there, those before are not',
  async (t) => {
    const { url } = await startOwnPart(t, 'kafka')
    const { namespace, meanwhile } = await movedFrom(t, 'SIGTERM')
    const service = await startService(t, { KAFKA_BROKERS: url }, namespace)
    await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
    const after = await postMany(service, 12) // so many that each partition has had one
    const collected = await collectEvents(t, namespace, url)
    t.strictSame(idsOf(await collected.forOrders([...meanwhile, ...after])), [...meanwhile, ...after].sort())
    t.equal(await metric(service, 'relay_unknowable_orders'), 0)
    await service.close()

    const again = await startService(t, { KAFKA_BROKERS: url }, namespace)
    const [later] = await postMany(again, 1)
    const all = [...meanwhile, ...after, later!]
    t.strictSame(idsOf(await collected.forOrders(all)), all.sort())
  }
)

t.test(
  'Kafka moved after the relay was killed: what nobody can know waits, as the copy may be older than the last event',
  async (t) => {
    const { url } = await startOwnPart(t, 'kafka')
    const { namespace, before, meanwhile } = await movedFrom(t, 'SIGKILL')
    const service = await startService(t, { KAFKA_BROKERS: url }, namespace)
    const waiting = await eventually(() => metric(service, 'relay_unknowable_orders'), 30_000, 'unknowable orders')
    t.equal(waiting, before.length + meanwhile.length)
    t.equal(service.api.relay!.leads, false)
  }
)
