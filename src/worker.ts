import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import { createApi } from './app.ts'
import { within } from './deadline.ts'
import { StartupError } from './errors.ts'
import { listen } from './listen.ts'
import { describeReadiness } from './readiness.ts'
import { joinPrimary } from './worker-channel.ts'

/** Until the settings are read. */
const CLOSE_DELAY_MS = 9_000
/** A terminal and a process manager send them to the whole group. When to close is for the primary to say. */
const GROUP_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const

for (const signal of GROUP_SIGNALS) process.on(signal, () => {})

// Its environment is what the primary found to be right, with the URLs of local parts.
const api = createApi()
let closing = false
const grace = closeWithGrace({ delay: false, logger: api.log, skip: [...GROUP_SIGNALS] }, async ({ err }) => {
  closing = true
  if (err !== undefined) api.log.fatal({ err }, 'the worker ends because of an error that nobody caught')
  await within(api.settings?.CLOSE_DELAY_MS ?? CLOSE_DELAY_MS, 'the end of all work', api.close())
})

const primary = joinPrimary(cluster.worker!, {
  metrics: () => api.metricsRegistry.getMetricsAsJSON(),
  readiness: () => describeReadiness(api),
  alive: async () => true,
  close () {
    if (!closing) grace.close()
  }
})

try {
  await api.ready()
  await listen(api, api.settings, 'PORT')
  await primary.tell({ state: 'serves' })
} catch (error) {
  if (!closing) {
    api.log.debug({ err: error }, 'the worker can\'t start')
    await primary.tell({ state: 'failed', reason: error instanceof StartupError ? error.message : `the service can't start: ${(error as Error).message}` })
    await within(CLOSE_DELAY_MS, 'the end of all parts', api.close()).catch(() => {})
    process.exit(1)
  }
}
