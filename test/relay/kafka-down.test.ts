import t, { type Test } from 'tap'
import type { Part } from '../../local/index.ts'
import {
  assertExactlyOnce,
  connectMongo,
  forkService,
  leads,
  startOwnPart,
  startPosting,
  storedIds,
  type ServiceProcess
} from '../support/faults.ts'
import { collectEvents, eventually, metric, parts, post } from '../helper.ts'

const kafka = await startOwnPart(t, 'kafka')

async function start (t: Test, kafka: Part): Promise<ServiceProcess> {
  return await forkService(t, { KAFKA_BROKERS: kafka.url })
}

async function ledBy (service: ServiceProcess): Promise<void> {
  await eventually(() => leads(service), 40_000, 'a leader')
}

async function lag (service: ServiceProcess): Promise<{ events: number, seconds: number }> {
  return {
    events: (await metric(service, 'relay_lag_events'))!,
    seconds: (await metric(service, 'relay_lag_seconds'))!
  }
}

t.test('a service started while Kafka is down takes orders and publishes them once Kafka is there', async (t) => {
  await kafka.kill()
  const service = await start(t, kafka)
  const ids: string[] = []
  for (let i = 0; i < 30; i++) ids.push((await post(service.url)).body._id)
  t.equal(new Set(ids).size, 30, 'each POST was answered 201')
  await eventually(() => service.log.some(({ msg }) => /events wait in MongoDB/.test(msg)), 30_000, 'a log line')
  t.ok(service.log.filter(({ level }) => level >= 40).length <= 2, 'one line says so, not one for each try')
  await eventually(async () => {
    const { events, seconds } = await lag(service)
    return events === 30 && seconds > 1
  }, 10_000, 'the lag to show')

  await kafka.start()
  await ledBy(service)
  const collected = await collectEvents(t, service.namespace, kafka.url)
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace: service.namespace,
    ids,
    collected,
    url: service.url
  })
  await eventually(async () => {
    const { events, seconds } = await lag(service)
    return events === 0 && seconds === 0
  }, 10_000, 'no lag')
})

t.test('Kafka killed and started again: each order is published once, and each POST answered', async (t) => {
  const service = await start(t, kafka)
  await ledBy(service)
  const collected = await collectEvents(t, service.namespace, kafka.url)
  const posting = startPosting(t, () => service.url, 16)
  await eventually(() => collected.events.length > 300, 30_000, 'events')
  await kafka.kill()
  await eventually(async () => !await leads(service), 30_000, 'the relay notices')
  await kafka.start()
  await ledBy(service)
  const told = await posting.stop()
  t.strictSame(told.filter(({ status }) => status !== 201), [])
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace: service.namespace,
    ids: storedIds(told),
    collected,
    url: service.url
  })
})

t.test(
  'Kafka hangs for longer than a transaction may last: the orders are published once when it answers again',
  async (t) => {
    const service = await start(t, kafka)
    await ledBy(service)
    const collected = await collectEvents(t, service.namespace, kafka.url)
    const posting = startPosting(t, () => service.url, 16)
    await eventually(() => collected.events.length > 300, 30_000, 'events')
    kafka.pause()
    t.teardown(() => kafka.resume())
    await eventually(async () => !(await leads(service)), 30_000, 'the relay gives the transaction up')
    kafka.resume()
    const told = await posting.stop()
    t.strictSame(
      told.filter(({ status }) => status !== 201),
      []
    )
    await ledBy(service)
    await assertExactlyOnce(t, {
      client: await connectMongo(t, parts.mongoUrl),
      namespace: service.namespace,
      ids: storedIds(told),
      collected,
      url: service.url
    })
  }
)
