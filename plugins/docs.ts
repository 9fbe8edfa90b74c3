import fp from 'fastify-plugin'
import { isProduction } from './settings.ts'

/** Everything comes from this service. Swagger UI sets styles in its markup. */
const CONTENT_SECURITY_POLICY = {
  'default-src': "'none'",
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'"
}

/** `/openapi.json`, and `/docs`, which shows it and can send requests. To be registered before the routes. */
export default fp(async (app) => {
  const { DOCS } = app.settings
  if (DOCS === 'off' || (DOCS === 'auto' && isProduction(app.settings))) return

  const { openapi, swaggerUi } = await load()
  await app.register(openapi)
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: CONTENT_SECURITY_POLICY,
    theme: { title: 'Order service' },
    uiConfig: { layout: 'BaseLayout', tryItOutEnabled: true, validatorUrl: null }
  })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
}, { name: 'docs', dependencies: ['settings'] })

/** In a function of its own, as tsc 6.0 renames no file that is imported within an `export default`. */
async function load () {
  const { default: openapi } = await import('./openapi.ts')
  const { default: swaggerUi } = await import('@fastify/swagger-ui')
  return { openapi, swaggerUi }
}
