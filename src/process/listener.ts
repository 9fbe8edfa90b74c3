import type { Server as HttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'

/** A listening descriptor of Node's own kind, which server.listen() takes. */
export interface Handle { close: () => void }

/**
 * A further listener of an HTTP server, not yet listening. Its connections go to the server, which knows nothing of it,
 * so each is served as one of the server's own; it closes with the server.
 */
export function addListener (server: HttpServer): Server {
  const listener = createServer({ noDelay: true }, (socket) => { server.emit('connection', socket) })
  // A socket listens until its last descriptor is closed, and a connection keeps only the listener that accepted it
  // from closing.
  const close = server.close.bind(server)
  server.close = (callback) => {
    const closed = new Promise<void>((resolve) => { listener.close(() => resolve()) })
    return close((error) => { closed.then(() => callback?.(error)) })
  }
  return listener
}
