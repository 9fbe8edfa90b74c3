import type { FastifyPluginAsync } from 'fastify'
import { Registry } from 'prom-client'
import { ReadinessSchema, type Readiness } from '../schemas/readiness.ts'

/** One process, or several workers together. */
export interface Operations {
  /** In Prometheus' text format. */
  metrics (): Promise<string>
  readiness (): Promise<Readiness>
}

/** For those who run the service, on a listener of their own: the public API stays the three routes. */
const routes: FastifyPluginAsync<{ of: Operations }> = async (app, { of: service }) => {
  app.get('/metrics', async (_request, reply) => reply.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await service.metrics()))

  /** The process answers. It depends on nothing: a restart mends no other part. */
  app.get('/livez', async () => ({ status: 'live' }))

  /** Requests can be served: that needs MongoDB. Redis and Kafka are told, not needed. */
  app.get('/readyz', { schema: { response: { 200: ReadinessSchema, 503: ReadinessSchema } } }, async (_request, reply) => {
    const readiness = await service.readiness()
    return reply.code(readiness.status === 'ready' ? 200 : 503).send(readiness)
  })
}

export default routes
