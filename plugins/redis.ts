import redisPlugin from '@fastify/redis'
import fp from 'fastify-plugin'
import { Redis } from 'ioredis'
import { COMMAND_TIMEOUT_MS, createRedisTier, type RedisTier } from '../src/redis-tier.ts'

declare module 'fastify' {
  interface FastifyInstance { redisTier: RedisTier | undefined }
}

const CONNECT_MS_MAX = 1_000
const RECONNECT_MS_MAX = 1_000
/** A connection that has answered nothing for so long is dead, even if it is open: a new one is made. */
const SILENCE_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

/** Redis, of which nothing depends: the service starts and runs without it. */
export default fp(async (app) => {
  const { REDIS_URL, REDIS_TTL_SECONDS } = app.settings
  app.decorate('redisTier', undefined)
  if (REDIS_URL === 'off') return

  const client = createClient(REDIS_URL)
  let complainedAt = -Infinity
  client.on('error', (error) => {
    app.log.debug({ err: error }, 'Redis')
    if (performance.now() - complainedAt < COMPLAIN_MS) return
    complainedAt = performance.now()
    app.log.warn({ reason: error.message }, 'Redis can\'t be used: reads are slower until it is back')
  })
  client.on('ready', () => {
    complainedAt = -Infinity
    app.log.info('Redis is connected')
  })

  // @fastify/redis waits for `ready` and fails the boot when Redis is away (fastify/fastify-redis#182), unless the client says
  // that it is ready already. So it is handed one that says so, and decorates with the real one after that.
  await app.register(redisPlugin, { client: new Proxy(client, { get: (target, key) => key === 'status' ? 'ready' : Reflect.get(target, key) }) })
  app.redis = client as typeof app.redis
  app.redisTier = createRedisTier({ redis: client, prefix: `${app.db.databaseName}:`, ttlSeconds: REDIS_TTL_SECONDS })

  app.addHook('onClose', async () => {
    app.redisTier?.close()
    client.disconnect() // quit() would wait for, or reject without, an answer
  })
}, { name: 'redis', dependencies: ['settings', 'mongo'] })

function createClient (url: string): Redis {
  return new Redis(url, {
    connectionName: 'order-service',
    connectTimeout: CONNECT_MS_MAX,
    commandTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SILENCE_MS_MAX,
    // A command that waits for a connection would hang a request, and be executed late (redis/ioredis#2130).
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: (times) => Math.min(times * 100, RECONNECT_MS_MAX)
  })
}
