import { setTimeout as delay } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import { acceptMore } from './process/accept.ts'
import { createService, readSettings } from './app.ts'
import { within } from './runtime/deadline.ts'
import { StartupError } from './errors.ts'
import { BACKLOG_CONNECTIONS, listen } from './listen.ts'
import { logOptions } from './runtime/logger.ts'
import { withoutSecrets } from './settings/secrets.ts'
import { SIGNALS, type Signal } from './process/signals.ts'

/** Until it serves nothing is lost when it ends, so a start that waits for another part is not waited for. */
const STOP_START_MS_MAX = 1_000

/** The process of a service, or of its primary: from its start to its end. */
export async function run (onSignal: (handler: (signal: Signal) => void) => void): Promise<void> {
  const settings = await readSettings({ dotenv: true, env: process.env }).catch((error) => {
    say(error)
    process.exit(1)
  })
  // With one process nothing of node:cluster is loaded.
  const create = settings.WORKERS === 1 ? createService : (await import('./primary.ts')).createPrimary
  const { api, operations } = create({ settings, logger: { ...logOptions, level: settings.LOG_LEVEL } })
  let serves = false
  let ending = false
  const drained = new AbortController()

  // Its own deadline can't be changed once the settings are known, so the handler has one.
  const grace = closeWithGrace({ delay: false, logger: api.log, skip: [...SIGNALS] }, async ({ err }) => {
    ending = true
    if (err !== undefined) api.log.fatal({ err }, 'the service ends because of an error that nobody caught')
    await within(settings.CLOSE_DELAY_MS, 'the end of all work', close())
  })
  onSignal(async (signal) => {
    if (signal === 'SIGINT') drained.abort() // Ctrl-C: somebody is waiting
    if (ending) return
    ending = true
    api.log.info({ signal }, 'the service closes')
    if (serves || api.workers?.serving === true) {
      await drain()
      grace.close()
    } else {
      await within(STOP_START_MS_MAX, 'the end of the start', close()).catch(() => {})
      process.exit(0)
    }
  })

  try {
    await operations.ready()
    await listen(operations, settings, 'METRICS_PORT') // a start may wait for long, and says so there
    await api.ready()
    if (api.workers === undefined) {
      const listeners = await listen(api, settings, 'PORT')
      serves = true
      await Promise.all(
        listeners.map((listener) => acceptMore(api.server, { listener, backlog: BACKLOG_CONNECTIONS, log: api.log }))
      )
    } else {
      await api.workers.start()
      serves = true
      api.workers.gaveUp.then(end)
    }
  } catch (error) {
    await end(error)
  }

  /** Load balancers go on sending new connections until they have noticed that the service is no longer ready. */
  async function drain (): Promise<void> {
    api.closing = true
    await delay(settings.DRAIN_MS, undefined, { signal: drained.signal }).catch(() => {})
  }

  async function close (): Promise<void> {
    await api.close()
    await operations.close()
  }

  /** With an error, after which nothing can go on. */
  async function end (error: unknown): Promise<void> {
    if (ending) return
    ending = true
    say(error)
    api.log.debug({ err: error }, "the service can't start")
    process.exitCode = 1
    await within(settings.CLOSE_DELAY_MS, 'the end of all parts', close()).catch(() => {})
    process.exit()
  }
}

function say (error: unknown): void {
  const { message } = error as Error
  const line = error instanceof StartupError ? message : `the service can't start: ${message}`
  process.stderr.write(`${withoutSecrets(line)}\n`)
}
