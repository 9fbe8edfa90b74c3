import t from 'tap'
import { assertExactlyOnce, assertSeenPlainly, connectMongo, forkService, startPosting, storedIds, subscribePlainly } from './faults.ts'
import { collectEvents, eventually, metric, newNamespace, parts, startService } from './helper.ts'

/* The number of shards changes while services of both settings are alive. */

t.test('1 -> 3 -> 2 -> 1: a process of another setting waits until the others have ended', async (t) => {
  const namespace = newNamespace()
  const front = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const leading = (shards: number, service: { operationsUrl: string }) => eventually(async () => await metric(service, 'relay_leader') === shards, 60_000, `${shards} leaders`)
  let service = await forkService(t, { RELAY_SHARDS: 1 }, namespace)
  await leading(1, service)
  const collected = await collectEvents(t, namespace)
  const plain = subscribePlainly(t, namespace)
  const posting = startPosting(t, () => front.url, 4)
  let before = 1
  for (const shards of [3, 2, 1]) {
    const next = await forkService(t, { RELAY_SHARDS: shards }, namespace)
    await eventually(() => next.log.some(({ msg }) => msg.startsWith('the relay waits')), 30_000, 'a line that says so')
    const events = collected.events.length
    await eventually(() => collected.events.length > events + 50, 30_000, 'events of the present leader')
    t.strictSame([await metric(next, 'relay_leader'), await metric(next, 'relay_shards'), await metric(service, 'relay_leader')], [0, before, before])
    if (shards === 2) await service.kill()
    else {
      service.signal('SIGTERM')
      await service.exit
    }
    await leading(shards, next)
    t.equal(next.log.filter(({ msg }) => msg.startsWith('the relay waits')).length, 1)
    service = next
    before = shards
  }
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: front.url })
  await assertSeenPlainly(t, plain, collected)
})

t.test('a leader of the old setting that wakes up after the change is fenced and waits', async (t) => {
  const namespace = newNamespace()
  const front = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  const zombie = await forkService(t, { RELAY_SHARDS: 1 }, namespace)
  await eventually(async () => await metric(zombie, 'relay_leader') === 1, 60_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  const plain = subscribePlainly(t, namespace)
  const posting = startPosting(t, () => front.url, 4)
  await eventually(() => collected.events.length > 100)
  zombie.signal('SIGSTOP') // most likely with a transaction in flight
  const heir = await forkService(t, { RELAY_SHARDS: 3 }, namespace)
  await eventually(async () => await metric(heir, 'relay_leader') === 3, 60_000, 'leaders')
  const before = collected.events.length
  await eventually(() => collected.events.length > before + 100, 30_000, 'events of the new leaders')
  zombie.signal('SIGCONT')
  await eventually(() => zombie.log.some(({ msg }) => msg.startsWith('the relay waits')), 60_000, 'it waits')
  const later = collected.events.length
  await eventually(() => collected.events.length > later + 100, 30_000, 'more events')
  t.strictSame([await metric(zombie, 'relay_leader'), await metric(heir, 'relay_leader')], [0, 3])
  const ids = storedIds(await posting.stop())
  await assertExactlyOnce(t, { client: await connectMongo(t, parts.mongoUrl), namespace, ids, collected, url: front.url })
  await assertSeenPlainly(t, plain, collected)
})
