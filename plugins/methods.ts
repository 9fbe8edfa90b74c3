import fp from 'fastify-plugin'
import { MethodNotAllowed, RouteNotFound } from '../src/errors.ts'

/**
 * A known path says what it takes: 405 with `Allow` for another method, and an answer to OPTIONS (RFC 9110, sections
 * 9.3.7 and 15.5.6). It is decided before a body is read that nobody would take. To be registered before the routes.
 */
export default fp(async (app) => {
  const paths = new Map<string, { pattern: RegExp, methods: Set<string> }>()

  app.addHook('onRoute', ({ url, routePath, method }) => {
    // The route of a prefix itself is there with a slash at its end too.
    const slash = routePath === '' ? '/?' : ''
    const pattern = new RegExp(`^${url.replaceAll(/:\w+/g, '[^/]+').replaceAll('*', '.*')}${slash}$`)
    const known = paths.get(url) ?? { pattern, methods: new Set(['OPTIONS']) }
    for (const each of [method].flat()) known.methods.add(each)
    paths.set(url, known)
  })

  /** `OPTIONS *` asks about the server as a whole. */
  function allowedAt (path: string): string[] {
    const found = [...paths.values()].filter(({ pattern }) => path === '*' || pattern.test(path))
    return [...new Set(found.flatMap(({ methods }) => [...methods]))].sort()
  }

  app.addHook('onRequest', (request, reply, done) => {
    if (!request.is404) return done()
    const { method, url } = request
    const allowed = allowedAt(url.split('?', 1)[0]!)
    if (allowed.length === 0) return done(new RouteNotFound(method, url))
    reply.header('allow', allowed.join(', '))
    if (method !== 'OPTIONS') return done(new MethodNotAllowed(method, allowed.join(', ')))
    reply.code(204).send()
  })
}, { name: 'methods', dependencies: ['http', 'problems'] })
