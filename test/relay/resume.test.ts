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
import { collectEvents, eventually, newNamespace, parts } from '../helper.ts'

const KILLS = 5

t.test('a service killed in the middle of its work loses no order and publishes none twice', async (t) => {
  const namespace = newNamespace()
  const client = await connectMongo(t, parts.mongoUrl)
  let service: ServiceProcess = await forkService(t, {}, namespace)
  await eventually(() => leads(service), 30_000, 'a leader')
  const collected = await collectEvents(t, namespace)
  const posting = startPosting(t, () => service.url, 32)

  for (let kills = 0; kills < KILLS; kills++) {
    // With events of this life on the topic, it dies at another point of a transaction each time.
    const before = collected.events.length
    await eventually(() => collected.events.length > before + 100 * (kills + 1), 40_000, 'events')
    await service.kill()
    service = await forkService(t, {}, namespace)
  }
  const ids = storedIds(await posting.stop())
  t.ok(ids.length > 100 * KILLS, `${ids.length} orders were confirmed`)
  for (const id of ids.slice(-200)) t.equal((await fetch(`${service.url}/${id}`)).status, 200)
  await eventually(() => leads(service), 30_000, 'a leader')
  await assertExactlyOnce(t, { client, namespace, ids, collected, url: service.url })
})
