import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Server as HttpServer } from 'node:http'
import type { Server } from 'node:net'
import { fileURLToPath } from 'node:url'
import { addListener, type Handle } from './listener.ts'
import type { Logger } from '../runtime/logger.ts'

/*
 * Since 1.45 libuv accepts one connection per listening descriptor in each turn of the event loop (libuv/libuv#3696,
 * nodejs/node#57364; still so in Node 24). Under load a turn serves every connection that is already open and takes
 * tens of milliseconds, so new connections get in no faster than turns go by. The rest wait in the kernel's queue,
 * where no limit and no metric of this service sees them. So the process listens on several descriptors of the same
 * socket, each of which accepts one connection a turn. Node can't duplicate a descriptor, but passing it to another
 * process and back does. Remove this once libuv accepts more than one connection a turn again.
 */

/**
 * Enough for 1,200 new connections a second at the 38 turns a second that were measured with both cores full and 256
 * busy connections. Every further descriptor costs a futile accept(), a system call, for a connection that comes alone.
 */
export const ACCEPTS_PER_TURN = 32
const HELPER = fileURLToPath(new URL('./accept-helper.js', import.meta.url))
/** It takes 0.1 s on a quiet machine. */
const HELPER_MS_MAX = 10_000

export interface AcceptOptions {
  /** The one that the server listens with: each further listen() on a socket sets it again. */
  backlog: number
  log: Logger
  /** What accepts the connections; the HTTP server itself unless it is one of its further listeners. */
  listener?: Server
  helper?: string
}

/**
 * Lets a listening server accept up to ACCEPTS_PER_TURN connections a turn. Never rejects: where it fails, the server
 * goes on accepting one.
 */
export async function acceptMore (
  server: HttpServer, { backlog, log, listener = server, helper = HELPER }: AcceptOptions
): Promise<void> {
  const closing = new AbortController()
  const listen = (handle: Handle): void => {
    addListener(server).on('error', (err) => log.warn({ err }, 'a copy of the listener failed')).listen(handle, backlog)
  }
  const received = receiveCopies(listener, helper, closing.signal, listen).catch((err) => {
    if (closing.signal.aborted) return
    log.warn({ err }, 'the listener could not be duplicated: under load new connections are accepted slowly')
  })

  const close = server.close.bind(server)
  server.close = (callback) => {
    closing.abort()
    return close((error) => { received.then(() => callback?.(error)) })
  }
  await received
}

/** Resolves once all have come, and the helper, which has the socket open too, is gone. */
async function receiveCopies (
  listener: Server, module: string, closing: AbortSignal, listen: (handle: Handle) => void
): Promise<void> {
  let count = 0
  // Nothing of this process's environment: its secrets are no business of the helper, nor are modules that it preloads.
  const helper = fork(module, { env: {}, execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  const kill = (): void => { helper.kill('SIGKILL') }
  const late = setTimeout(kill, HELPER_MS_MAX)
  closing.addEventListener('abort', kill)
  helper.on('message', (_message, handle) => {
    count++
    if (closing.aborted) (handle as Handle).close()
    else listen(handle as Handle)
  })
  const exited = once(helper, 'exit')
  const disconnected = new Promise((resolve) => { helper.once('disconnect', resolve) })
  // As a net.Server it would be listened on in the helper too, and connections accepted there would be lost.
  const { _handle: handle } = listener as unknown as { _handle: Server }
  helper.send(ACCEPTS_PER_TURN - 1, handle, () => {}) // if it can't be sent, the helper ends and has sent nothing
  const [code] = await exited.finally(() => clearTimeout(late))
  // Of one that was killed nobody says that it has disconnected. What it sent and was not read ends with the channel.
  if (code === 0) await disconnected
  else if (helper.connected) helper.disconnect()
  if (count < ACCEPTS_PER_TURN - 1) throw new Error(`the helper ended with ${code} after ${count} copies`)
}
