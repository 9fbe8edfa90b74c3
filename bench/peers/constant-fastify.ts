/** A ceiling: Fastify that serialises a constant order, with METRICS=on also counted and timed as the service does it. */
import fastify from 'fastify'
import metricsModule from 'fastify-metrics'
import promClient from 'prom-client'
import { OrderParamsSchema, OrderSchema } from '../../schemas/order.ts'
import { CONSTANT_ORDER } from './constant-order.ts'
import { endOnSignal, settings } from './settings.ts'

/** Those of plugins/metrics.ts. */
const SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

const app = fastify()
if (process.env.METRICS === 'on') {
  const register = new promClient.Registry()
  const registers = [register]
  await app.register(metricsModule.default, {
    endpoint: null,
    promClient,
    defaultMetrics: { enabled: true, register },
    routeMetrics: {
      enabled: { histogram: true, summary: false },
      registeredRoutesOnly: false,
      methodBlacklist: [],
      overrides: { histogram: { buckets: SECONDS_BUCKETS, registers }, summary: { registers } }
    }
  })
}
app.get('/:id', { schema: { params: OrderParamsSchema, response: { 200: OrderSchema } } }, async () => CONSTANT_ORDER)
await app.listen({ port: settings.port, host: settings.host })
endOnSignal(async () => {
  app.server.closeAllConnections()
  await app.close()
})
