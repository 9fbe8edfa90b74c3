import fp from 'fastify-plugin'
import promClient from 'prom-client'
import type { NewOrder } from '../schemas/order.ts'
import { GatewayUnavailable, UnknownProduct, UnknownUser } from '../src/errors.ts'
import type { Field } from '../src/gateway/ask.ts'
import type { OrderCheck } from '../src/gateway/check.ts'
import { createThrottle } from '../src/runtime/throttle.ts'
import { SECONDS_BUCKETS } from './route-metrics.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Why an order is refused, undefined if it is not. There is none where orders don't wait for the gateway. */
    refusalByGateway: ((order: NewOrder) => Promise<Error | undefined>) | undefined
    /** Logs and counts what the gateway does not know. There is none where orders wait for it, or nobody asks. */
    warnByGateway: ((order: NewOrder) => void) | undefined
  }
}

const WARN_MS = 60_000

/** Asks the shop's gateway whether the user and the products of an order exist, if GATEWAY_URL names one. */
export default fp(async (app) => {
  const { GATEWAY_URL: url, GATEWAY_CHECK: mode } = app.settings
  app.decorate('refusalByGateway', undefined)
  app.decorate('warnByGateway', undefined)
  if (url === '') return

  const { settings, log, metricsRegistry } = app
  const registers = [metricsRegistry]
  const checks = new promClient.Counter({
    name: 'gateway_checks_total',
    help: 'users and products of orders that the gateway was asked about, or had been',
    labelNames: ['result'],
    registers
  })
  for (const result of ['known', 'unknown', 'unsure']) checks.inc({ result }, 0)
  const seconds = new promClient.Histogram({
    name: 'gateway_request_duration_seconds',
    help: 'time of a query to the gateway',
    buckets: SECONDS_BUCKETS,
    registers
  })
  const { createGateway, createOrderCheck } = await load()
  const gateway = createGateway({ url, timeoutMs: settings.GATEWAY_TIMEOUT_MS })
  app.addHook('onClose', async () => gateway.close())
  const check: OrderCheck = createOrderCheck({
    gateway,
    fields: { user: fieldOf(settings.GATEWAY_USER), product: fieldOf(settings.GATEWAY_PRODUCT) },
    batchMax: settings.GATEWAY_BATCH,
    timeoutMs: settings.GATEWAY_TIMEOUT_MS,
    log,
    observe: { checked: (result) => checks.inc({ result }), asked: (duration) => seconds.observe(duration) }
  })
  const warnings = createThrottle(WARN_MS)

  if (mode === 'warn') {
    app.warnByGateway = (order) => {
      check(order).then(({ unknown }) => {
        if (unknown.length > 0 && warnings.allows()) {
          log.warn({ places: unknown }, 'an order names a user or products that the gateway does not know')
        }
      })
    }
    return
  }
  app.refusalByGateway = async (order) => {
    const { unknown, unsure } = await check(order)
    if (unknown.length > 0) {
      const error = unknown[0] === '/userId' ? new UnknownUser() : new UnknownProduct()
      return Object.assign(error, { places: unknown.map((pointer) => ({ pointer })) })
    }
    return unsure && mode === 'require' ? new GatewayUnavailable() : undefined
  }
}, { name: 'gateway', dependencies: ['settings', 'metrics'] })

function fieldOf (setting: string): Field | undefined {
  const [, field, argument] = /^(\w+):(\w+)$/.exec(setting) ?? []
  return field === undefined ? undefined : { field, argument: argument! }
}

/** Only where they are used; in a function, as tsc 6.0 renames no file that is imported within an `export default`. */
async function load () {
  const { createGateway } = await import('../src/gateway/ask.ts')
  const { createOrderCheck } = await import('../src/gateway/check.ts')
  return { createGateway, createOrderCheck }
}
