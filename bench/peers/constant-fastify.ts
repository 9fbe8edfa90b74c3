/**
 * A ceiling: Fastify that serialises a constant order, with METRICS=on also counted and timed as the service does it.
 */
import fastify from 'fastify'
import metricsModule from 'fastify-metrics'
import { Registry } from 'prom-client'
import { routeMetricsOptions } from '../../plugins/route-metrics.ts'
import { OrderParamsSchema, OrderSchema } from '../../schemas/order.ts'
import { CONSTANT_ORDER } from './constant-order.ts'
import { endOnSignal, settings } from './settings.ts'

const app = fastify()
if (process.env.METRICS === 'on') await app.register(metricsModule.default, routeMetricsOptions(new Registry()))
app.get('/:id', { schema: { params: OrderParamsSchema, response: { 200: OrderSchema } } }, async () => CONSTANT_ORDER)
await app.listen({ port: settings.port, host: settings.host })
endOnSignal(async () => {
  app.server.closeAllConnections()
  await app.close()
})
