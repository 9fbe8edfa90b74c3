import fastify from 'fastify'
import http, { serverOptions } from '../plugins/http.ts'
import localParts from '../plugins/local-parts.ts'
import problems from '../plugins/problems.ts'
import settings from '../plugins/settings.ts'
import workers from '../plugins/workers.ts'
import operationRoutes from '../routes/operations.ts'
import { starting } from './process/operations.ts'
import type { Service, ServiceOptions } from './app.ts'
import { logOptions } from './runtime/logger.ts'

/**
 * The service where WORKERS is more than 1: local parts, workers, and the listener for those who run it. Its `api`
 * serves no requests; it stands for what does.
 * @throws StartupError with one line that says what to do
 */
export function createPrimary ({ logger = true, ...options }: ServiceOptions = {}): Service {
  const api = fastify({ ...serverOptions, logger: logger === true ? logOptions : logger, pluginTimeout: 0 })
  api.register(http)
  api.register(settings, options)
  api.register(localParts)
  api.register(workers)

  const operations = fastify({ ...serverOptions, loggerInstance: api.log })
  operations.register(http)
  operations.register(problems)
  operations.register(operationRoutes, { of: () => api.workersOperations ?? starting })
  return { api, operations }
}
