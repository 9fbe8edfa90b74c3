import type { FastifyPluginAsync, FastifyInstance } from 'fastify'
import { Type } from '@sinclair/typebox'
import { readinessOf } from '../src/readiness.ts'

const ReadinessSchema = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('unready')]),
  closing: Type.Boolean(),
  mongodb: Type.Boolean(),
  redis: Type.Union([Type.Boolean(), Type.Literal('off')]),
  relay: Type.Union([Type.Literal('leader'), Type.Literal('follower'), Type.Literal('off')])
})

/** For those who run the service, on a listener of their own: the public API stays the three routes. */
const routes: FastifyPluginAsync<{ api: FastifyInstance }> = async (app, { api }) => {
  app.get('/metrics', async (_request, reply) => {
    return reply.type(api.metricsRegistry.contentType).send(await api.metricsRegistry.metrics())
  })

  /** The process answers. It depends on nothing: a restart mends no other part. */
  app.get('/livez', async () => ({ status: 'live' }))

  /** Requests can be served: that needs MongoDB. Redis and Kafka are told, not needed. */
  app.get('/readyz', { schema: { response: { 200: ReadinessSchema, 503: ReadinessSchema } } }, async (_request, reply) => {
    const { ready, mongodb } = await readinessOf(api)
    return reply.code(ready ? 200 : 503).send({
      status: ready ? 'ready' : 'unready',
      closing: api.closing,
      mongodb,
      redis: api.redisTier?.usable ?? 'off',
      relay: api.relay === undefined ? 'off' : api.relay.leads ? 'leader' : 'follower'
    })
  })
}

export default routes
