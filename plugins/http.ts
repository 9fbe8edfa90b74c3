import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import { LogController, type FastifyHttpOptions, type RawServerDefault } from 'fastify'
import fp from 'fastify-plugin'
import { endBrokenConnection } from '../src/process/broken-connection.ts'
import { HostMissing } from '../src/errors.ts'
import { problem, problemOnSocket, PROBLEM_TYPE, sendProblem, serializeProblem } from './problems.ts'

declare module 'fastify' {
  interface FastifyInstance { closing: boolean }
}

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/
const ours = randomBytes(6).toString('hex')
let requests = 0

/**
 * The caller's id if it can be repeated in a header and a log line as it is; otherwise one that is unique over all
 * replicas.
 */
function requestIdOf ({ headers }: IncomingMessage): string {
  const id = headers['x-request-id']
  return typeof id === 'string' && REQUEST_ID.test(id) ? id : newRequestId()
}

function newRequestId (): string {
  return `${ours}-${(++requests).toString(36)}`
}

/**
 * Limits of both listeners. Fastify's `requestTimeout` alone does not cut a body that stops half-way: Node looks for
 * such requests only every `connectionsCheckingInterval`, and waits out `headersTimeout` first.
 */
export const serverOptions = {
  bodyLimit: 256 * 1024,
  requestTimeout: 10_000,
  // A client that takes nothing of its answer for so long, or has it only half sent, is cut off: it would hold its
  // place, and what was read for it, for ever. Longer than anything that MongoDB is waited for.
  connectionTimeout: 45_000,
  keepAliveTimeout: 72_000, // above the idle time of the usual load balancers, which must be the ones to close
  http: { headersTimeout: 5_000, connectionsCheckingInterval: 1_000, requireHostHeader: false },
  forceCloseConnections: 'idle',
  // What still comes in on open connections while the service closes is served: it was accepted.
  return503OnClosing: false,
  // Above Node's limit for a whole head: an id of any length is answered by its schema.
  routerOptions: { maxParamLength: 16_384 },
  requestIdHeader: false,
  genReqId: requestIdOf,
  // A line for each request would cost more than the request. Failures are logged, the rest is in the metrics.
  logController: new LogController({ disableRequestLogging: true }),
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
  frameworkErrors: sendProblem,
  clientErrorHandler: (error, socket) =>
    endBrokenConnection(error, socket, (...defect) => problemOnSocket(...defect, newRequestId()))
} satisfies FastifyHttpOptions<RawServerDefault>

/*
 * To close, Node cuts every connection that looks idle, also one on which the next request is on its way. So busy
 * connections are first asked to leave: each answer says `Connection: close`, until no request has come for a moment or
 * new ones keep coming in. Connections that clients have made may still wait to be taken, a few in each turn of the
 * loop (src/process/accept.ts); those that the closing listener leaves behind are reset, with the requests that are on
 * them.
 */
const QUIET_MS = 100
const DRAIN_MS_MAX = 1_000

/**
 * When a connection closes, Node closes the answer that is being sent, but not the pipelined answers that wait behind
 * it. Their streams would stay open forever.
 */
function endWithConnection (stream: Readable, socket: Socket): void {
  const end = (): void => { stream.destroy() }
  if (socket.destroyed) {
    setImmediate(end)
    return
  }
  socket.setMaxListeners(0) // one for each pipelined request
  socket.once('close', end)
  stream.once('close', () => socket.off('close', end))
}

/** What holds for every request and answer of a listener. */
export default fp(async (app) => {
  app.decorate('closing', false)
  let requestedAt = -Infinity
  let connections = 0
  app.server.on('connection', () => { connections++ })
  app.addHook('preClose', async () => {
    app.closing = true
    const began = performance.now()
    while (performance.now() - Math.max(began, requestedAt) < QUIET_MS && performance.now() - began < DRAIN_MS_MAX) {
      await delay(QUIET_MS / 4)
    }
    const drained = performance.now()
    let before: number
    do {
      before = connections
      await nextTurn() // this turn may have looked for connections already
      await nextTurn()
    } while (connections > before && performance.now() - drained < DRAIN_MS_MAX)
    // What never ends must not keep the rest from ending in order: above all the relay has its lease to give back.
    setTimeout(
      () => app.server.closeAllConnections(),
      app.settings === undefined ? DRAIN_MS_MAX : app.settings.CLOSE_DELAY_MS / 2
    ).unref()
  })
  app.addHook('onRequest', (request, _reply, done) => {
    if (app.closing) requestedAt = performance.now()
    // Node would refuse it with an empty body (RFC 9112, section 3.2).
    done(request.headers.host === undefined && request.raw.httpVersion === '1.1' ? new HostMissing() : undefined)
  })
  app.addHook('onSend', (request, reply, payload, done) => {
    if (payload instanceof Readable) endWithConnection(payload, request.raw.socket)
    reply.header('x-request-id', request.id)
    // Otherwise close() would wait until the client's keep-alive connection is idle for keepAliveTimeout
    // (fastify/fastify#7044).
    if (app.closing) reply.header('connection', 'close')
    done()
  })
  // Node would ask for the body before anything can refuse the request by its head.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    request.once('resume', () => { if (!response.headersSent) response.writeContinue() })
    app.server.emit('request', request, response)
  })
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    const requestId = requestIdOf(request)
    const body = serializeProblem(
      problem(
        417,
        'EXPECTATION_FAILED',
        'The only expectation that can be met is 100-continue.',
        requestId,
        request.url
      )
    )
    response
      .writeHead(417, {
        'content-type': PROBLEM_TYPE,
        'content-length': Buffer.byteLength(body),
        'x-request-id': requestId
      })
      .end(body)
  })
}, { name: 'http' })
