import type { Db } from 'mongodb'
import t from 'tap'
import { IDEMPOTENCY_INDEX } from '../../src/models.ts'
import { COLLECTION } from '../../src/mongo/start.ts'
import { aNewOrder, collectEvents, eventually, parts, post, request, startService } from '../helper.ts'

/** What is promised for a fix made by hand. */
const SHOWS_MS_MAX = 5_000

const WAYS: [string, (db: Db) => Promise<unknown>][] = [
  ['the collection dropped', (db) => db.dropCollection(COLLECTION)],
  ['the collection renamed', (db) => db.renameCollection(COLLECTION, 'orders-of-then')],
  ['the database dropped', (db) => db.dropDatabase()]
]

for (const [what, drop] of WAYS) {
  t.test(`${what} while the service runs`, async (t) => {
    const service = await startService(t, { REDIS_URL: parts.redisUrl })
    await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
    await eventually(() => service.api.redisTier?.usable, 10_000, 'a Redis that is used')
    const { events } = await collectEvents(t, service.namespace)
    const { body: { _id: before } } = await post(service.url)
    await eventually(() => events.length === 1, 30_000, 'the event of the first order')

    await drop(service.db)
    await eventually(
      async () => (await request(`${service.url}/${before}`)).status === 404,
      SHOWS_MS_MAX,
      'the end of the first order'
    )
    const { body: { _id: after } } = await post(service.url)
    await eventually(() => events.length === 2, 30_000, 'the event of the next order')
    t.strictSame(events.map(({ event }) => event.orderId), [before, after])

    const headers = { 'idempotency-key': 'key-1' }
    await eventually(
      async () => (await service.db.collection(COLLECTION).indexes()).some(({ name }) => name === 'idempotency'),
      10_000,
      'the index'
    )
    // It is listed while it is built; who asks for it once more waits.
    await service.db.collection(COLLECTION).createIndex(IDEMPOTENCY_INDEX.key, IDEMPOTENCY_INDEX.options)
    const keyed = await Promise.all([1, 2].map(() => post(service.url, aNewOrder, headers)))
    t.equal(new Set(keyed.map(({ body }) => body._id)).size, 1, 'an Idempotency-Key is one order again')

    await service.close()
    const next = await startService(t, {}, service.namespace)
    await eventually(() => next.api.relay?.leads, 30_000, 'a leader behind it')
    const { body: { _id: last } } = await post(next.url)
    await eventually(() => events.length >= 4, 30_000, 'the events of the others')
    t.strictSame(events.map(({ event }) => event.orderId), [before, after, keyed[0]!.body._id, last])
  })
}
