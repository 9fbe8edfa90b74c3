import closeWithGrace from 'close-with-grace'
import { acceptMore } from './accept.ts'
import { createService, readSettings } from './app.ts'
import { within } from './deadline.ts'
import { StartupError } from './errors.ts'
import { BACKLOG_CONNECTIONS, listen } from './listen.ts'

/** Where a shell and npm both pass Ctrl-C on, it comes twice. */
const SAME_SIGNAL_MS = 1_000

const settings = await readSettings({ dotenv: true }).catch((error) => {
  say(error)
  process.exit(1)
})
// With one process nothing of node:cluster is loaded.
const create = settings.WORKERS === 1 ? createService : (await import('./primary.ts')).createPrimary
const { api, operations } = create({ settings })

// Its own deadline can't be changed once the settings are known, so the handler has one.
let closing = false
const grace = closeWithGrace({ delay: false, logger: api.log, skip: ['SIGINT'] }, async ({ signal, err }) => {
  closing = true
  if (err !== undefined) api.log.fatal({ err }, 'the service ends because of an error that nobody caught')
  else api.log.info({ signal }, 'the service closes')
  await within(settings.CLOSE_DELAY_MS, 'the end of all work', close())
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

try {
  await api.ready()
  await operations.ready()
  await listen(operations, api.settings, 'METRICS_PORT')
  if (api.workers === undefined) {
    await listen(api, api.settings, 'PORT')
    await acceptMore(api.server, { backlog: BACKLOG_CONNECTIONS, log: api.log })
  } else {
    await api.workers.start()
  }
  api.workers?.gaveUp.then(end)
} catch (error) {
  await end(error)
}

async function close (): Promise<void> {
  await api.close()
  await operations.close()
}

/** With an error, after which nothing can go on. */
async function end (error: unknown): Promise<void> {
  if (closing) return
  closing = true
  say(error)
  api.log.debug({ err: error }, 'the service can\'t start')
  process.exitCode = 1
  await within(settings.CLOSE_DELAY_MS, 'the end of all parts', close()).catch(() => {})
  process.exit()
}

function say (error: unknown): void {
  process.stderr.write(`${error instanceof StartupError ? error.message : `the service can't start: ${(error as Error).message}`}\n`)
}
