import type { FastifyInstance } from 'fastify'
import { StartupError } from './errors.ts'

/**
 * Connections that may wait to be accepted; the system's own limit may be lower. With Node's 511 a burst of more overflows while
 * the event loop is busy, and who overflows is not refused but left to TCP, which tries again after 1, 3, 7 and 15 s.
 */
export const BACKLOG_CONNECTIONS = 4_096

/** @throws StartupError with one line that says what to do */
export async function listen (server: FastifyInstance, { HOST, ...settings }: FastifyInstance['settings'], name: 'PORT' | 'METRICS_PORT'): Promise<void> {
  const port = settings[name]
  try {
    await server.listen({ port, host: HOST, backlog: BACKLOG_CONNECTIONS }).catch((error) => {
      if (HOST === '::' && error.code === 'EAFNOSUPPORT') return server.listen({ port, host: '0.0.0.0', backlog: BACKLOG_CONNECTIONS })
      throw error
    })
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'EADDRINUSE') throw new StartupError(`port ${port} is taken: stop what listens there, or set ${name} to another port`, { cause })
    if (code === 'EACCES') throw new StartupError(`port ${port} may not be opened by this user: set ${name} to one above 1023`, { cause })
    throw new StartupError(`HOST ${HOST} with ${name} ${port} can't be listened on: ${message}`, { cause })
  }
}
