import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { isIP, type AddressInfo, type Server } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { StartupError } from './errors.ts'
import { addListener } from './process/listener.ts'

/**
 * Connections that may wait to be accepted; the system's own limit may be lower. With Node's 511 a burst of more
 * overflows while the event loop is busy, and a connection that overflows is not refused but left to TCP, which tries
 * again after 1, 3, 7 and 15 s.
 */
export const BACKLOG_CONNECTIONS = 4_096

/** A machine may know a name's address and yet not have it, as with ::1 for `localhost` where there is no IPv6. */
const NOT_HERE = new Set(['EADDRNOTAVAIL', 'EAFNOSUPPORT'])

type Resolve = (host: string) => Promise<string[]>

/**
 * Listens on every address that HOST means, at one port. Fastify does so for `localhost`, but by servers of their own,
 * which lack what was set up on the first one, and leave a request that asks for an upgrade without an answer.
 * @returns what listens: the server, and one for each further address
 * @throws StartupError with one line that says what to do
 */
export async function listen (
  app: FastifyInstance,
  { HOST, ...settings }: FastifyInstance['settings'],
  name: 'PORT' | 'METRICS_PORT',
  resolve: Resolve = addressesOf
): Promise<Server[]> {
  let port = settings[name]
  const listeners: Server[] = []
  try {
    const addresses = await resolve(HOST)
    let reason: unknown
    for (const host of addresses) {
      try {
        listeners.push(await listenOn(host))
        port = (app.server.address() as AddressInfo).port
      } catch (error) {
        if (!NOT_HERE.has((error as NodeJS.ErrnoException).code!)) throw error
        reason ??= error
      }
    }
    if (listeners.length === 0 && HOST === '::') listeners.push(await listenOn('0.0.0.0'))
    if (listeners.length === 0) throw reason
    return listeners
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') {
      throw new StartupError(`port ${port} is taken: stop what listens there, or set ${name} to another port`, {
        cause
      })
    }
    if (code === 'EACCES') {
      throw new StartupError(`port ${port} may not be opened by this user: set ${name} to one above 1023`, { cause })
    }
    throw new StartupError(`HOST ${HOST} with ${name} ${port} can't be listened on: ${message}`, { cause })
  }

  async function listenOn (host: string): Promise<Server> {
    const options = { port, host, backlog: BACKLOG_CONNECTIONS }
    if (!app.server.listening) {
      await app.listen(options)
      return app.server
    }
    const listener = addListener(app.server)
    await once(listener.listen(options), 'listening')
    listener.on('error', (err) => app.log.warn({ err }, 'a listener failed'))
    app.log.info(`Server listening at http://${isIP(host) === 6 ? `[${host}]` : host}:${port}`)
    return listener
  }
}

async function addressesOf (host: string): Promise<string[]> {
  if (isIP(host) !== 0) return [host]
  return [...new Set((await lookup(host, { all: true })).map(({ address }) => address))]
}
