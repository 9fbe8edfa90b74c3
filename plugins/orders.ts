import fp from 'fastify-plugin'
import { createOrders, type Orders } from '../src/orders/store.ts'

declare module 'fastify' {
  interface FastifyInstance { orders: Orders }
}

/** The store of orders. */
export default fp(async (app) => {
  const { db, ordersCollection: collection, reads, settings, log, observe } = app
  const limits = { postsMax: settings.POSTS_MAX, postWaitMsMax: settings.POST_WAIT_MS_MAX }
  app.decorate(
    'orders',
    createOrders({ db, collection, reads, idempotencyHours: settings.IDEMPOTENCY_HOURS, limits, log, observe })
  )
}, { name: 'orders', dependencies: ['mongo', 'reads', 'metrics'] })
