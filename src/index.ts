import closeWithGrace from 'close-with-grace'
import { createService } from './app.ts'
import { within } from './deadline.ts'
import { StartupError } from './errors.ts'

/** Until the settings are read. */
const CLOSE_DELAY_MS = 9_000
/**
 * Connections that may wait to be accepted; the system's own limit may be lower. With Node's 511 a burst of more overflows while
 * the event loop is busy, and who overflows is not refused but left to TCP, which tries again after 1, 3, 7 and 15 s.
 */
const BACKLOG_CONNECTIONS = 4_096
/** Where a shell and npm both pass Ctrl-C on, it comes twice. */
const SAME_SIGNAL_MS = 1_000

const { api, operations } = createService({ dotenv: true })

// Its own deadline can't be changed once the settings are known, so the handler has one.
let closing = false
const grace = closeWithGrace({ delay: false, logger: api.log, skip: ['SIGINT'] }, async ({ signal, err }) => {
  closing = true
  if (err !== undefined) api.log.fatal({ err }, 'the service ends because of an error that nobody caught')
  else api.log.info({ signal }, 'the service closes')
  await within(api.settings?.CLOSE_DELAY_MS ?? CLOSE_DELAY_MS, 'the end of all work', close())
})
let interruptedAt: number | undefined
process.on('SIGINT', () => {
  if (interruptedAt === undefined) {
    interruptedAt = performance.now()
    grace.close()
  } else if (performance.now() - interruptedAt > SAME_SIGNAL_MS) {
    process.exit(1)
  }
})

async function close (): Promise<void> {
  await api.close()
  await operations.close()
}

try {
  await api.ready()
  await operations.ready()
  await listen(operations, 'METRICS_PORT')
  await listen(api, 'PORT')
} catch (error) {
  if (!closing) {
    process.stderr.write(`${error instanceof StartupError ? error.message : `the service can't start: ${(error as Error).message}`}\n`)
    api.log.debug({ err: error }, 'the service can\'t start')
    process.exitCode = 1
    await within(CLOSE_DELAY_MS, 'the end of all parts', close()).catch(() => {})
    process.exit()
  }
}

async function listen (server: typeof api, name: 'PORT' | 'METRICS_PORT'): Promise<void> {
  const { HOST, [name]: port } = api.settings
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
