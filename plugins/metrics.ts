import metricsModule from 'fastify-metrics'
import fp from 'fastify-plugin'
import promClient, { type Aggregator, type Registry } from 'prom-client'
import packageJson from '../package.json' with { type: 'json' }
import type { FeedObserver } from '../src/feed/feed.ts'
import type { OrdersObserver } from '../src/orders/store.ts'
import { readinessOf, SERVICE_READY } from '../src/process/readiness.ts'
import { createRelayLag } from '../src/relay/lag.ts'
import type { ListsObserver } from '../src/reads/list.ts'
import type { ReadObserver } from '../src/reads/look-up.ts'
import type { RelayObserver } from '../src/relay/relay.ts'
import { routeMetricsOptions, SECONDS_BUCKETS } from './route-metrics.ts'

declare module 'fastify' {
  interface FastifyInstance {
    metricsRegistry: Registry
    observe: OrdersObserver & ReadObserver & ListsObserver & RelayObserver & FeedObserver & PressureObserver
  }
}

interface PressureObserver { shed: (reason: 'event-loop' | 'heap') => void }

const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

/** What Prometheus sees. The listener it is served on is in routes/operations.ts. */
export default fp(async (app) => {
  // A registry for each app: in the global one a second app of the same process would find its names taken.
  const register = new promClient.Registry()
  const registers = [register]
  app.decorate('metricsRegistry', register)
  await app.register(metricsModule.default, routeMetricsOptions(register))
  const counter = <Label extends string>(
    name: string,
    help: string,
    labelNames: Label[] = [],
    collect: (this: promClient.Counter<Label>) => void = () => {}
  ) => new promClient.Counter({ name, help, labelNames, registers, collect })
  const seconds = (name: string, help: string) =>
    new promClient.Histogram({ name, help, buckets: SECONDS_BUCKETS, registers })
  // `aggregator` is how several workers' values become one, see src/workers/metrics.ts.
  const gauge = <Label extends string>(
    name: string,
    help: string,
    labelNames: Label[] = [],
    collect?: () => Promise<number | undefined>,
    aggregator: Aggregator = 'sum'
  ) =>
      new promClient.Gauge({
        name,
        help,
        labelNames,
        registers,
        aggregator,
        async collect () {
          if (collect === undefined) return
          const value = await collect()
          if (value === undefined) this.remove() // an old value would look like a new one
          else this.set(value)
        }
      })

  gauge('build_info', 'always 1; what runs here', ['version', 'node'], undefined, 'first').set(
    { version: packageJson.version, node: process.version },
    1
  )
  gauge(SERVICE_READY.name, SERVICE_READY.help, [], async () => (await readinessOf(app)).ready ? 1 : 0, 'max')

  // fastify-metrics counts what was answered. A client that went away before the answer would be missing.
  const aborted = counter('http_requests_aborted_total', 'requests whose client went away before the answer', [
    'method',
    'route'
  ])
  app.addHook('onRequestAbort', async ({ method, routeOptions: { url, config } }) => {
    if (config.disableMetrics === true) return // an answer without an end has no other one
    aborted.inc({ method, route: url ?? '__unknown__' })
  })

  const shed = counter('requests_shed_total', 'requests refused with 503 OVERLOADED or FEED_FULL, as there was too much to do', [
    'reason'
  ])
  for (const reason of ['posts', 'lists', 'pages', 'feed', 'event-loop', 'heap']) shed.inc({ reason }, 0)
  gauge('orders_in_flight', 'orders that wait to be stored or are being stored', [], async () => app.orders.inFlight)
  gauge('lists_open', 'lists of all orders that are being read', [], async () => app.lists.count)
  gauge('feed_clients', 'clients that listen to the live feed', [], async () => app.feed?.count ?? 0)
  const feedCut = counter('feed_clients_cut_total', 'clients of the live feed that were too slow and were cut off')

  const created = counter('orders_created_total', 'orders stored durably')
  const replayed = counter(
    'orders_replayed_total',
    'POSTs whose Idempotency-Key had come before, answered with the order of then'
  )
  const batchSize = new promClient.Histogram({
    name: 'order_insert_batch_size',
    help: 'orders in one insert',
    buckets: BATCH_BUCKETS,
    registers
  })
  const insertSeconds = seconds('order_insert_duration_seconds', 'time until a batch is durable')
  // Counted in plain numbers: to find a counter by its labels takes 0.3 µs of the 27 of a hot GET.
  const lookUps = { process: { hit: 0, miss: 0 }, redis: { hit: 0, miss: 0 }, mongodb: { hit: 0, miss: 0 } }
  counter('cache_requests_total', 'look-ups of single orders by tier and result', ['tier', 'result'], function () {
    for (const [tier, results] of Object.entries(lookUps)) {
      this.inc({ tier, result: 'hit' }, results.hit)
      this.inc({ tier, result: 'miss' }, results.miss)
      results.hit = results.miss = 0
    }
  })

  const published = counter('relay_events_published_total', 'events committed to Kafka by this process')
  const leader = gauge('relay_leader', '1 while this process publishes the events')
  leader.set(0)
  const startSeconds = gauge(
    'relay_start_seconds',
    'time that the last leadership of this process took to begin, from the lease to the change stream',
    [],
    undefined,
    'max'
  )
  startSeconds.set(0)
  const transactionSeconds = seconds(
    'kafka_transaction_duration_seconds',
    'time of a Kafka transaction, from encoding to commit'
  )
  const reconciled = counter(
    'relay_reconciled_orders_total',
    'orders compared with the topic after the checkpoint or the oplog was lost',
    ['result']
  )
  for (const result of ['found', 'sent', 'skipped']) reconciled.inc({ result }, 0)
  const unknowable = gauge(
    'relay_unknowable_orders',
    'orders of which nobody can know whether they were published: they wait for RELAY_UNKNOWABLE'
  )
  unknowable.set(0)
  const oversized = gauge(
    'relay_oversized_orders',
    'orders whose events are larger than the topic takes: they are published once its max.message.bytes is raised'
  )
  oversized.set(0)
  const lag = createRelayLag({
    db: app.db,
    collection: app.ordersCollection,
    topic: app.settings.KAFKA_TOPIC,
    relay: () => app.relay
  })
  // Each worker measures the same. The leader's is the smallest, as it knows first what is published; none is ever too
  // small.
  gauge(
    'relay_lag_events',
    'orders stored and not yet on the topic (counted up to 100000)',
    [],
    async () => (await lag())?.events,
    'min'
  )
  gauge(
    'relay_lag_seconds',
    'age of the oldest order that is not yet on the topic',
    [],
    async () => (await lag())?.seconds,
    'min'
  )

  gauge('mongo_pool_connections_open', 'connections to MongoDB', [], async () => app.mongoPool.open)
  gauge('mongo_pool_connections_in_use', 'connections to MongoDB that are at work', [], async () => app.mongoPool.inUse)

  app.decorate('observe', {
    shed (reason) {
      shed.inc({ reason })
    },
    feedCut () {
      feedCut.inc()
    },
    cache (tier, hits, misses) {
      lookUps[tier].hit += hits
      lookUps[tier].miss += misses
    },
    insert (orders, stored, duration) {
      created.inc(stored)
      batchSize.observe(orders)
      insertSeconds.observe(duration)
    },
    replayed () {
      replayed.inc()
    },
    leader (leads) {
      leader.set(leads ? 1 : 0)
    },
    started (duration) {
      startSeconds.set(duration)
    },
    published (events, duration) {
      published.inc(events)
      transactionSeconds.observe(duration)
    },
    reconciled (result, orders) {
      reconciled.inc({ result }, orders)
    },
    oversized (orders) {
      oversized.set(orders)
    },
    unknowable (orders) {
      unknowable.set(orders)
    }
  })
}, { name: 'metrics', dependencies: ['http', 'settings', 'mongo'] })
