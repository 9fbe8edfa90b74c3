import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import fp from 'fastify-plugin'
import { within } from '../src/runtime/deadline.ts'
import { createHeldOrders, type HeldDocument } from '../src/relay/publishing/held-orders.ts'
import { createLease, leaseName, RELAY_COLLECTION, type LeaseDocument } from '../src/mongo/lease.ts'
import type { Unknowable } from '../src/relay/reconciliation/reconcile.ts'
import { createRelay, type Relay } from '../src/relay/relay.ts'

declare module 'fastify' {
  interface FastifyInstance { relay: Relay | undefined }
}

/** A transaction at hand ends within it, unless Kafka hangs: then the next leader finds out by the checkpoint. */
const STOP_MS_MAX = 4_000

/** Publishes the orders to Kafka. */
export default fp(async (app) => {
  const { db, ordersCollection: collection, orderEvents, settings, log, observe } = app
  const { operationTime, source, keep } = app.origin
  app.decorate('relay', undefined)
  if (orderEvents === undefined) return

  const owner = `${hostname()} ${process.pid} ${randomUUID()}`
  const relay = createRelay({
    db,
    collection,
    ...orderEvents,
    topic: {
      topic: settings.KAFKA_TOPIC,
      partitions: settings.KAFKA_TOPIC_PARTITIONS,
      replicationFactor: settings.KAFKA_TOPIC_REPLICATION
    },
    lease: createLease({
      collection: db.collection<LeaseDocument>(RELAY_COLLECTION),
      name: leaseName(settings.KAFKA_TOPIC),
      owner,
      log
    }),
    held: createHeldOrders({ collection: db.collection<HeldDocument>(RELAY_COLLECTION), topic: settings.KAFKA_TOPIC }),
    source,
    origin: operationTime,
    keepOrigin: keep,
    log,
    observe,
    unknowable: settings.RELAY_UNKNOWABLE as Unknowable
  })
  app.relay = relay
  app.addHook('onReady', async () => relay.start())
  app.addHook('onClose', async () => {
    await within(STOP_MS_MAX, "the relay's end", relay.stop()).catch((error) =>
      log.warn({ reason: error.message }, 'gave up waiting for the relay to stop')
    )
  })
}, { name: 'relay', dependencies: ['mongo', 'origin', 'kafka', 'orders', 'metrics'] })
