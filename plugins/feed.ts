import fp from 'fastify-plugin'
import { createOrderFeed, type OrderFeed } from '../src/feed/feed.ts'
import { within } from '../src/runtime/deadline.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** There is none in a process without Kafka. */
    feed: OrderFeed | undefined
  }
}

/** Its fetch ends at once, unless a broker hangs. */
const STOP_MS_MAX = 2_000

/** Order events for clients over HTTP. */
export default fp(async (app) => {
  const { orderEvents, settings, log, observe } = app
  app.decorate('feed', undefined)
  if (orderEvents === undefined || settings.FEED_CLIENTS_MAX === 0) return
  const feed = createOrderFeed({
    kafka: orderEvents.kafka,
    topic: settings.KAFKA_TOPIC,
    clientsMax: settings.FEED_CLIENTS_MAX,
    log,
    observe
  })
  app.feed = feed
  // Before the server waits for the ends of all answers.
  app.addHook('preClose', async () => {
    await within(STOP_MS_MAX, 'the end of the live feed', feed.close()).catch((error) =>
      log.warn({ reason: error.message }, 'gave up waiting for the live feed to end')
    )
  })
}, { name: 'feed', dependencies: ['settings', 'kafka', 'metrics'] })
