import fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import accepts from '@fastify/accepts'
import docs from '../plugins/docs.ts'
import feed from '../plugins/feed.ts'
import gateway from '../plugins/gateway.ts'
import http, { serverOptions } from '../plugins/http.ts'
import kafka from '../plugins/kafka.ts'
import localParts from '../plugins/local-parts.ts'
import methods from '../plugins/methods.ts'
import metrics from '../plugins/metrics.ts'
import mongo from '../plugins/mongo.ts'
import openapi from '../plugins/openapi.ts'
import orders from '../plugins/orders.ts'
import origin from '../plugins/origin.ts'
import pressure from '../plugins/pressure.ts'
import problems from '../plugins/problems.ts'
import reads from '../plugins/reads.ts'
import redis from '../plugins/redis.ts'
import relay from '../plugins/relay.ts'
import settings, { type SettingsOptions } from '../plugins/settings.ts'
import { acceptOnlyJson } from '../routes/order-request.ts'
import operationRoutes from '../routes/operations.ts'
import feedRoutes from '../routes/feed.ts'
import listRoutes from '../routes/lists.ts'
import orderRoutes from '../routes/orders.ts'
import type { Settings } from '../schemas/settings.ts'
import { logOptions } from './runtime/logger.ts'
import { describeReadiness } from './process/readiness.ts'
import { starting, type Operations } from './process/operations.ts'

export interface Service { api: FastifyInstance, operations: FastifyInstance }

export interface ServiceOptions extends SettingsOptions { logger?: FastifyServerOptions['logger'] }

/**
 * The settings by themselves, to know what to create.
 * @throws StartupError with one line that says what would be right
 */
export async function readSettings (options: SettingsOptions): Promise<Settings> {
  const app = fastify({ logger: logOptions }) // what `.env` has that can't be meant is a warning
  app.register(settings, options)
  await app.ready()
  return app.settings
}

/**
 * The service with its two listeners, not yet listening.
 * @throws StartupError with one line that says what to do
 */
export function createService (options: ServiceOptions = {}): Service {
  const api = createApi(options)
  const operations = fastify({ ...serverOptions, loggerInstance: api.log })
  operations.register(http)
  operations.register(problems)
  operations.register(methods)
  const listening: Operations = {
    metrics: () => api.metricsRegistry.metrics(),
    readiness: () => describeReadiness(api)
  }
  let current = starting
  api.server.once('listening', () => { current = listening })
  operations.register(operationRoutes, { of: () => current })
  return { api, operations }
}

/** What serves orders. The order is that of dependence; closing goes the other way round. */
export function createApi ({ logger = true, ...options }: ServiceOptions = {}): FastifyInstance {
  // Local parts may have to be fetched first, which takes as long as it takes.
  const api = fastify({ ...serverOptions, logger: logger === true ? logOptions : logger, pluginTimeout: 0 })
  api.register(http)
  api.register(problems)
  api.register(settings, options)
  api.register(localParts)
  api.register(mongo)
  api.register(origin)
  api.register(redis)
  api.register(kafka)
  api.register(metrics)
  api.register(methods) // after the metrics, which count what it answers
  api.register(pressure)
  api.register(reads)
  api.register(orders)
  api.register(gateway)
  api.register(relay)
  api.register(feed)
  acceptOnlyJson(api)
  api.register(docs)
  registerRoutes(api)
  return api
}

function registerRoutes (api: FastifyInstance): void {
  api.register(accepts)
  for (const prefix of ['', '/orders']) {
    api.register(listRoutes, { prefix })
    api.register(feedRoutes, { prefix })
    api.register(orderRoutes, { prefix })
  }
}

/** The OpenAPI document of the routes, which need nothing to be described. */
export async function describeApi (): Promise<object> {
  const api = fastify(serverOptions)
  const nothing = {} as never
  const settings = { RESPONSE_ENVELOPE: 'off', ORDER_INDEXES: 'off' } as Settings
  api.decorate('settings', settings)
  for (const name of ['orders', 'reads', 'lists', 'pages', 'feed', 'refusalByGateway', 'warnByGateway'] as const) api.decorate(name, nothing)
  api.register(openapi)
  registerRoutes(api)
  await api.ready()
  return api.swagger()
}
