import type { FastifyPluginAsync } from 'fastify'
import { Registry } from 'prom-client'
import { ReadinessSchema } from '../schemas/readiness.ts'
import type { Operations } from '../src/process/operations.ts'

/** For operators, on a listener of its own: the public API stays the three routes. */
const routes: FastifyPluginAsync<{ of: () => Operations }> = async (app, { of: service }) => {
  app.get('/metrics', async (_request, reply) =>
    reply.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await service().metrics())
  )

  /** The process answers. It depends on nothing: a restart mends no other part. */
  app.get('/livez', async () => ({ status: 'live' }))

  /** Requests can be served: that needs MongoDB. Redis and Kafka are reported, not needed. */
  app.get(
    '/readyz',
    { schema: { response: { 200: ReadinessSchema, 503: ReadinessSchema } } },
    async (_request, reply) => {
      const readiness = await service().readiness()
      return reply.code(readiness.status === 'ready' ? 200 : 503).send(readiness)
    }
  )
}

export default routes
