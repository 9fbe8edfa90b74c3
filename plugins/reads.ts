import fp from 'fastify-plugin'
import type { OrderFilter } from '../src/models.ts'
import { createFilterIndexes } from '../src/mongo/filter-indexes.ts'
import { prepareOrders } from '../src/mongo/start.ts'
import { createOrderReads, type OrderReads } from '../src/reads/by-id.ts'
import { createInvalidation } from '../src/reads/invalidation.ts'
import { createOrderLists, type OrderLists } from '../src/reads/list.ts'
import { createOrderPages, type OrderPages } from '../src/reads/page.ts'
import { within } from '../src/runtime/deadline.ts'
import { oldGenerationMax } from '../src/runtime/heap.ts'

declare module 'fastify' {
  interface FastifyInstance {
    reads: OrderReads
    lists: OrderLists
    pages: OrderPages
  }
}

/** Its stream ends at once, unless MongoDB hangs. */
const STOP_MS_MAX = 2_000
/** Of the heap, in which the cache has its text: the rest is for requests. */
const CACHE_SHARE_MAX = 1 / 3

/** What each choice of ORDER_INDEXES lets lists be filtered by. */
export const FILTERS: Record<string, readonly OrderFilter[]> = {
  off: [],
  user: ['userId'],
  product: ['productId'],
  all: ['userId', 'productId']
}

/** Orders by id, as a list and in pages, and what keeps the caches true. */
export default fp(async (app) => {
  const { db, ordersCollection: { collectionName }, redisTier: redis, settings, log, observe } = app
  const bytesMax = Math.min(settings.CACHE_BYTES_MAX, Math.floor(CACHE_SHARE_MAX * oldGenerationMax))
  if (bytesMax < settings.CACHE_BYTES_MAX) {
    log.warn(
      { cacheBytesMax: bytesMax, heapBytesMax: Math.floor(oldGenerationMax) },
      'CACHE_BYTES_MAX is more than a third of the heap and is lowered: NODE_OPTIONS=--max-old-space-size=MEGABYTES makes the heap larger'
    )
  }
  const reads = createOrderReads({ db, collection: collectionName, redis, bytesMax, observe })
  const invalidation = createInvalidation({
    db,
    collectionName,
    reads,
    redis,
    redisTtlSeconds: settings.REDIS_TTL_SECONDS,
    origin: app.origin.operationTime,
    onDrop,
    log
  })

  const closing = new AbortController()
  const createIndexes = (): Promise<void> =>
    createFilterIndexes({ db, filters: FILTERS[settings.ORDER_INDEXES]!, log, signal: closing.signal })

  function onDrop (): void {
    log.warn('the collection of orders was dropped or renamed: its successor is prepared and followed')
    prepareOrders(db, log).then(createIndexes).catch((error) =>
      log.error(
        { reason: error.message },
        'the new collection of orders has no index for Idempotency-Keys: start the service again'
      )
    )
  }

  app.decorate('reads', reads)
  app.decorate('lists', createOrderLists({ db, collection: collectionName, listsMax: settings.LISTS_MAX, observe }))
  app.decorate('pages', createOrderPages({ db, collection: collectionName, observe }))
  app.addHook('onReady', async () => {
    invalidation.start()
    createIndexes() // nothing waits for them, and what goes wrong is logged
  })
  app.addHook('onClose', async () => {
    closing.abort()
    await within(STOP_MS_MAX, 'the end of the stream of changes', invalidation.stop()).catch((error) =>
      log.warn({ reason: error.message }, 'gave up waiting for the stream of changes to end')
    )
  })
}, { name: 'reads', dependencies: ['mongo', 'origin', 'redis', 'metrics'] })
