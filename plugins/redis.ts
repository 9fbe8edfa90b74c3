import redisPlugin from '@fastify/redis'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import { createRedisTier, type RedisTier } from '../src/reads/redis-tier.ts'

declare module 'fastify' {
  interface FastifyInstance { redisTier: RedisTier | undefined }
}

const CONNECT_MS_MAX = 1_000
const RECONNECT_MS_MAX = 1_000
/** A connection that has answered nothing for so long is dead, even if it is open: a new one is made. */
const SILENCE_MS_MAX = 5_000

/** Redis, on which nothing depends: the service starts and runs without it. */
export default fp(async (app) => {
  const { REDIS_URL, REDIS_TTL_SECONDS } = app.settings
  app.decorate('redisTier', undefined)
  if (REDIS_URL === 'off') return

  const client = createClient(REDIS_URL)
  // Another installation may have the same names in this Redis. And what was put there to stay for longer would outlive
  // this one's look back at the changes it missed (src/reads/invalidation.ts).
  const prefix = `${app.db.databaseName}:${app.origin.source}:${REDIS_TTL_SECONDS}:`
  app.redisTier = createRedisTier({ redis: client, prefix, ttlSeconds: REDIS_TTL_SECONDS, log: app.log })

  // @fastify/redis waits for `ready` and fails the boot when Redis is away (fastify/fastify-redis#182), unless the
  // client says that it is ready already. So it is handed one that says so, and decorates with the real one after that.
  await app.register(redisPlugin, {
    client: new Proxy(client, { get: (target, key) => (key === 'status' ? 'ready' : Reflect.get(target, key)) })
  })
  app.redis = client as typeof app.redis

  app.addHook('onClose', async () => {
    app.redisTier?.close()
    client.disconnect() // quit() would wait for, or reject without, an answer
  })
}, { name: 'redis', dependencies: ['settings', 'mongo', 'origin'] })

function createClient (url: string): Redis {
  return new Redis(url, {
    connectionName: 'order-service',
    connectTimeout: CONNECT_MS_MAX,
    enableReadyCheck: false, // what is used is tried out before (src/reads/redis-tier.ts), and INFO may be forbidden
    socketTimeout: SILENCE_MS_MAX,
    // A command that waits for a connection would hang a request, and be executed late (redis/ioredis#2130).
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(times * 100, RECONNECT_MS_MAX)
  })
}
