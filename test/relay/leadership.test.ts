import t from 'tap'
import {
  assertExactlyOnce,
  connectMongo,
  forkService,
  leads,
  startPosting,
  storedIds,
  type ServiceProcess
} from '../support/faults.ts'
import {
  aNewOrder,
  collectEvents,
  databaseUrl,
  eventually,
  newNamespace,
  parts,
  post,
  startService
} from '../helper.ts'

/** Two processes of one deployment, the leader first. */
async function startPair (
  t: Parameters<typeof forkService>[0],
  namespace: string
): Promise<[ServiceProcess, ServiceProcess]> {
  const first = await forkService(t, {}, namespace)
  await eventually(() => leads(first), 30_000, 'a leader')
  return [first, await forkService(t, {}, namespace)]
}

t.test('of two services one leads, and the other follows soon after it was closed', async (t) => {
  const first = await startService(t)
  await eventually(() => first.api.relay?.leads, 30_000, 'a leader')
  const second = await startService(t, {}, first.namespace)
  const collected = await collectEvents(t, first.namespace)
  const ids: string[] = []
  for (let i = 0; i < 20; i++) ids.push((await post((i % 2 ? first : second).url)).body._id)
  await collected.forOrders(ids)
  t.equal(second.api.relay?.leads, false)

  await first.close()
  const closed = performance.now()
  await eventually(() => second.api.relay?.leads, 5_000, 'the other leads')
  const took = performance.now() - closed
  t.ok(took < 1_500, `after ${Math.round(took)} ms`)
  const client = await connectMongo(t, parts.mongoUrl)
  await assertExactlyOnce(t, { client, namespace: first.namespace, ids, collected, url: second.url })
})

t.test('a killed leader is followed within 10 s', async (t) => {
  const namespace = newNamespace()
  const [first, second] = await startPair(t, namespace)
  const collected = await collectEvents(t, namespace)
  const posting = startPosting(t, () => second.url, 16)
  await eventually(() => collected.events.length > 200)
  await first.kill()
  const killed = performance.now()
  await eventually(() => leads(second), 15_000, 'the other leads')
  const took = performance.now() - killed
  t.ok(took < 10_000, `after ${Math.round(took)} ms`)
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace,
    ids,
    collected,
    url: second.url
  })
})

t.test('a leader that hung for longer than its lease is fenced: nothing is published twice or missing', async (t) => {
  const namespace = newNamespace()
  const [first, second] = await startPair(t, namespace)
  const collected = await collectEvents(t, namespace)
  const posting = startPosting(t, () => second.url, 16)
  await eventually(() => collected.events.length > 200)
  first.signal('SIGSTOP') // most likely with a transaction in flight
  await eventually(() => leads(second), 15_000, 'the other leads')
  const before = collected.events.length
  await eventually(() => collected.events.length > before + 200, 20_000, 'events of the new leader')
  first.signal('SIGCONT')
  await eventually(async () => !await leads(first), 15_000, 'the old leader gives up')
  await eventually(() => collected.events.length > before + 1_000, 20_000, 'more events')
  t.equal(await leads(second), true, 'the old one does not disturb the new one')
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace,
    ids,
    collected,
    url: second.url
  })
})

t.test('deployments with databases of their own share a topic without fencing each other', async (t) => {
  const topic = newNamespace()
  const services = await Promise.all([1, 2].map(async () => {
    const namespace = newNamespace()
    const service = await startService(t, { MONGO_URL: databaseUrl(namespace), KAFKA_TOPIC: topic }, namespace)
    await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
    return service
  }))
  const collected = await collectEvents(t, topic)
  const ids: string[] = []
  for (let i = 0; i < 50; i++) for (const { url } of services) ids.push((await post(url, aNewOrder)).body._id)
  let fenced = false
  await eventually(() => {
    fenced ||= services.some(({ api }) => api.relay?.leads !== true)
    return collected.events.length >= ids.length
  }, 30_000, 'an event for each order')
  t.equal(fenced, false, 'both lead all the time')
  t.strictSame(collected.events.map(({ event }) => event.orderId).sort(), ids.sort())
})
