import fp from 'fastify-plugin'
import { StartupError } from '../src/errors.ts'

/**
 * With no URL for a part, a real one is started on this machine, for development. They end after everything that uses
 * them.
 */
export default fp(async (app) => {
  const { settings } = app
  const parts = [
    ...(settings.MONGO_URL === '' ? ['mongo' as const] : []),
    ...(settings.REDIS_URL === '' ? ['redis' as const] : []),
    ...(settings.KAFKA_BROKERS === '' ? ['kafka' as const] : [])
  ]
  if (parts.length === 0) return

  // Loaded only here: a production install has neither the launcher's packages nor a use for them.
  const { startLocalParts } = await loadLauncher()
  const local = await startLocalParts({ dir: settings.LOCAL_DIR, parts, progress: 'visible' })
    .catch((cause) => { throw new StartupError((cause as Error).message, { cause }) })
  app.addHook('onClose', () => local.stop())

  for (const { part, reason } of local.missing) {
    if (part === 'mongo') throw new StartupError(reason)
    app.log.warn(
      { part, reason },
      part === 'redis' ? 'there is no Redis: reads are slower' : 'there is no Kafka: events wait in MongoDB'
    )
  }
  if (local.urls.mongo !== undefined) settings.MONGO_URL = local.urls.mongo
  if (parts.includes('redis')) settings.REDIS_URL = local.urls.redis ?? 'off'
  if (parts.includes('kafka')) settings.KAFKA_BROKERS = local.urls.kafka ?? 'off'
}, { name: 'local-parts', dependencies: ['settings'] })

async function loadLauncher () {
  try {
    return await import('../local/index.ts')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new StartupError(
      'local parts need the development packages: run `npm ci`, or set MONGO_URL, REDIS_URL and KAFKA_BROKERS',
      { cause }
    )
  }
}
