import { ObjectId } from 'mongodb'
import t, { type Test } from 'tap'
import { firstIdOf } from '../../src/encoding/order-id.ts'
import { startOwnPart } from '../support/faults.ts'
import { collectEvents, eventually, metric, newNamespace, post, startService, type RunningService } from '../helper.ts'
import { ordersOf } from '../support/relays.ts'

const NOWHERE = '127.0.0.1:9'
const HOUR_S = 3_600

const lagOf = (service: { operationsUrl: string }) => metric(service, 'relay_lag_events')

/** The lag, once it is that: it is measured once a second at most. */
async function lagIs (service: { operationsUrl: string }, events: number, what: string): Promise<void> {
  let last: number | undefined
  await eventually(async () => {
    last = await lagOf(service)
    return last === events
  }, 10_000, what).catch((error) => { throw new Error(`${error.message}: it said ${last}, not ${events}`) })
}

async function postMany (service: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
}

/** An order that a service with a wrong clock has stored. */
async function insertAhead (service: RunningService, seconds: number): Promise<string> {
  const [order] = ordersOf(1)
  const _id = new ObjectId(firstIdOf(seconds).slice(0, 8) + String(order!._id).slice(8))
  await service.api.ordersCollection.insertOne({ ...order!, _id })
  return String(_id)
}

const now = (): number => Math.floor(Date.now() / 1000)

async function lagBehind (t: Test, ahead: () => number): Promise<void> {
  const kafka = await startOwnPart(t, 'kafka')
  const namespace = newNamespace()
  const settings = { KAFKA_BROKERS: kafka.url }
  const leader = await startService(t, settings, namespace)
  await eventually(() => leader.api.relay?.leads, 30_000, 'a leader')
  const follower = await startService(t, settings, namespace)
  const collected = await collectEvents(t, namespace, kafka.url)
  const ids = [await insertAhead(leader, ahead()), ...await postMany(leader, 3)]
  await collected.forOrders(ids)
  await lagIs(leader, 0, 'the leader')
  await lagIs(follower, 0, 'the follower')
  await collected.stop()

  await kafka.stop()
  const waiting = await postMany(leader, 5)
  await insertAhead(leader, ahead()) // one whose time has not come says nothing of now
  await lagIs(leader, 5, 'the leader')
  await lagIs(follower, 5, 'the follower')
  t.ok((await metric(follower, 'relay_lag_seconds'))! > 0)
  await Promise.all([leader.close(), follower.close()])
  const alone = await startService(t, { KAFKA_BROKERS: NOWHERE }, namespace)
  await lagIs(alone, 5, 'a service that was started without Kafka')

  await kafka.start()
  const back = await startService(t, settings, namespace)
  await alone.close()
  await eventually(() => back.api.relay?.leads, 30_000, 'a leader')
  await lagIs(back, 0, 'the next leader')
  t.equal(await metric(back, 'relay_lag_seconds'), 0)
  await (await collectEvents(t, namespace, kafka.url)).forOrders(waiting)
}

t.test('after an order with an id from years ahead the lag still counts the orders that wait', async (t) => {
  await lagBehind(t, () => now() + 3 * 365 * 24 * HOUR_S)
})

t.test('nor does one from an hour ahead hide them', async (t) => {
  await lagBehind(t, () => now() + HOUR_S)
})
