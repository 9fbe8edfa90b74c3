import swagger from '@fastify/swagger'
import fp from 'fastify-plugin'
import packageJson from '../package.json' with { type: 'json' }
import { describeRoute, finishDocument, type Json } from './openapi-document.ts'

/** Collects the routes that are registered after it: `app.swagger()` is the OpenAPI document. */
export default fp(async (app) => {
  const enveloped = app.settings.RESPONSE_ENVELOPE === 'result'
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.1',
      info: {
        title: 'Order service',
        version: packageJson.version,
        description:
          'Takes orders, keeps them, and publishes each of them once. Every error is application/problem+json (RFC 9457) with a stable `code`.',
        license: { name: 'MIT', identifier: 'MIT' }
      },
      tags: [{ name: 'orders' }]
    },
    transform: (route) => describeRoute(route as Parameters<typeof describeRoute>[0], enveloped) as never,
    transformObject: (document) =>
      finishDocument((document as { openapiObject: Record<string, Json> }).openapiObject) as never
  })
}, { name: 'openapi' })
