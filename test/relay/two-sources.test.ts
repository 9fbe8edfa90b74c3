import type { Document, MongoClient } from 'mongodb'
import t, { type Test } from 'tap'
import { leaseName } from '../../src/mongo/lease.ts'
import { connectMongo, eventCounts, forkService, leads, startOwnPart, type ServiceProcess } from '../support/faults.ts'
import { collectEvents, databaseUrl, eventually, newNamespace, parts, post } from '../helper.ts'

/* Two MongoDBs with databases of one name, whose services publish to one topic of one Kafka. */

async function postMany (service: { url: string }, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => (await post(service.url)).body._id))
}

async function startLeading (t: Test, namespace: string, mongoUrl: string): Promise<ServiceProcess> {
  const service = await forkService(t, { MONGO_URL: databaseUrl(namespace, mongoUrl) }, namespace)
  await eventually(() => leads(service), 60_000, 'a leader')
  return service
}

async function leaseOf (client: MongoClient, namespace: string): Promise<Document | null> {
  return await client
    .db(namespace)
    .collection<Document & { _id: string }>('relay')
    .findOne({ _id: leaseName(namespace) })
}

const linesOf = ({ log }: ServiceProcess, pattern: RegExp): string[] =>
  log.filter(({ level, msg, reason = '' }) => level >= 40 && pattern.test(`${msg} ${reason}`)).map(({ msg }) => msg)

t.test('two MongoDBs with one database name: each order is published once, and neither fences the other', async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const namespace = newNamespace()
  const urls = [parts.mongoUrl, mongo.url]
  const services = await Promise.all(urls.map((url) => startLeading(t, namespace, url)))
  const collected = await collectEvents(t, namespace)
  const ids: string[] = []
  for (let round = 0; round < 5; round++) {
    ids.push(...(await Promise.all(services.map((service) => postMany(service, 20)))).flat())
    await collected.forOrders(ids)
  }
  const counts = await eventCounts(collected, services[0]!.url)
  t.strictSame(ids.filter((id) => counts.get(id) !== 1), [])
  t.equal(counts.size, ids.length)
  for (const url of urls) t.equal((await leaseOf(await connectMongo(t, url), namespace))!.epoch, 1)
  for (const service of services) t.strictSame(linesOf(service, /./), [])
})

t.test(
  'a copy of a MongoDB next to it: a line says so, and no order of either is lost or published twice',
  async (t) => {
    const mongo = await startOwnPart(t, 'mongo')
    const namespace = newNamespace()
    const original = await startLeading(t, namespace, parts.mongoUrl)
    const ids = await postMany(original, 20)
    const collected = await collectEvents(t, namespace)
    await collected.forOrders(ids)
    const [from, to] = [await connectMongo(t, parts.mongoUrl), await connectMongo(t, mongo.url)]
    await eventually(
      async () => (await leaseOf(from, namespace))!.position?.orderId === ids.toSorted().at(-1),
      10_000,
      'a position'
    )
    for (const name of ['relay', 'orders']) {
      await to
        .db(namespace)
        .collection(name)
        .insertMany(await from.db(namespace).collection(name).find().toArray())
    }
    ids.push(...(await postMany(original, 5))) // behind the copying, so the copy's relay begins behind it too
    await collected.forOrders(ids)

    const copy = await startLeading(t, namespace, mongo.url)
    for (let round = 0; round < 4; round++) {
      ids.push(...(await Promise.all([copy, original].map((service) => postMany(service, 10)))).flat())
      await collected.forOrders(ids, 60_000)
    }
    const counts = await eventCounts(collected, original.url)
    t.strictSame(
      ids.filter((id) => counts.get(id) !== 1),
      []
    )
    for (const [name, service] of Object.entries({ copy, original })) {
      t.ok(
        linesOf(service, /another copy of it publishes to|a copy of this MongoDB publishes to/).length > 0,
        `the ${name} says so`
      )
    }
  }
)
