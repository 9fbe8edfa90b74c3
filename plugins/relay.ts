import { randomBytes, randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import fp from 'fastify-plugin'
import type { Timestamp } from 'mongodb'
import { within } from '../src/deadline.ts'
import { createHeldOrders, type HeldDocument } from '../src/held-orders.ts'
import { createLease, leaseName, originName, RELAY_COLLECTION, type LeaseDocument, type OriginDocument } from '../src/lease.ts'
import type { Unknowable } from '../src/reconciliation.ts'
import { createRelay, type Relay } from '../src/relay.ts'

declare module 'fastify' {
  interface FastifyInstance { relay: Relay | undefined }
}

/** A transaction at hand ends within it, unless Kafka hangs: then the next leader finds out by the checkpoint. */
const STOP_MS_MAX = 4_000
const SOURCE_BYTES = 6

/** Tells Kafka of the orders. Without Kafka in this process only the place to start from is kept. */
export default fp(async (app) => {
  const { db, ordersCollection: collection, kafka, settings, log, observe } = app
  const known = await ensureOrigin()
  const { operationTime: origin, source } = known
  app.decorate('relay', undefined)
  if (kafka === undefined) return

  const owner = `${hostname()} ${process.pid} ${randomUUID()}`
  const relay = createRelay({
    db,
    collection,
    kafka,
    topic: { topic: settings.KAFKA_TOPIC, partitions: settings.KAFKA_TOPIC_PARTITIONS, replicationFactor: settings.KAFKA_TOPIC_REPLICATION },
    lease: createLease({ collection: db.collection<LeaseDocument>(RELAY_COLLECTION), name: leaseName(settings.KAFKA_TOPIC), owner, log }),
    held: createHeldOrders({ collection: db.collection<HeldDocument>(RELAY_COLLECTION), topic: settings.KAFKA_TOPIC }),
    source,
    origin,
    keepOrigin,
    log,
    observe,
    unknowable: settings.RELAY_UNKNOWABLE as Unknowable
  })
  app.relay = relay
  app.addHook('onReady', async () => relay.start())
  app.addHook('onClose', async () => {
    await within(STOP_MS_MAX, 'the relay\'s end', relay.stop()).catch((error) => log.warn({ reason: error.message }, 'the relay was left behind'))
  })

  async function keepOrigin (): Promise<void> {
    if ((await ensureOrigin(known)).source !== source) {
      throw new Error('the database was dropped, and another process has begun anew with it: start this process again')
    }
  }

  /**
   * Stored before the first request is served: if Kafka is down at the very first start, this says where the first relay begins. The
   * name beside it tells these orders from those of another MongoDB that publishes to the same topic.
   */
  async function ensureOrigin (known?: OriginDocument): Promise<OriginDocument> {
    const { operationTime, source = randomBytes(SOURCE_BYTES).toString('hex') } = known ?? await db.command({ ping: 1 }) as { operationTime: Timestamp, source?: string }
    const orElse = (field: string, value: unknown) => ({ $ifNull: [field, value] })
    return (await db.collection<OriginDocument>(RELAY_COLLECTION).findOneAndUpdate(
      { _id: originName(settings.KAFKA_TOPIC) },
      [{ $set: { operationTime: orElse('$operationTime', operationTime), source: orElse('$source', source) } }],
      { upsert: true, returnDocument: 'after', writeConcern: { w: 'majority' } }))!
  }
}, { name: 'relay', dependencies: ['mongo', 'kafka', 'orders', 'metrics'] })
