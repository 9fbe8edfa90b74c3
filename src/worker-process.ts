import cluster from 'node:cluster'
import closeWithGrace from 'close-with-grace'
import { createApi } from './app.ts'
import { within } from './runtime/deadline.ts'
import { StartupError } from './errors.ts'
import { listen } from './listen.ts'
import { describeReadiness } from './process/readiness.ts'
import { SIGNALS } from './process/signals.ts'
import { joinPrimary } from './workers/channel.ts'

/** Until the settings are read. */
const CLOSE_DELAY_MS = 9_000

// Its environment is what the primary found to be right, with the URLs of local parts.
const api = createApi({ env: process.env })
let closing = false
let serves = false
const grace = closeWithGrace({ delay: false, logger: api.log, skip: [...SIGNALS] }, async ({ err }) => {
  closing = true
  if (err !== undefined) api.log.fatal({ err }, 'the worker ends because of an error that nobody caught')
  await within(api.settings?.CLOSE_DELAY_MS ?? CLOSE_DELAY_MS, 'the end of all work', api.close())
})

const primary = joinPrimary(cluster.worker!, {
  metrics: () => api.metricsRegistry.getMetricsAsJSON(),
  readiness: () => describeReadiness(api),
  alive: async () => true,
  close () {
    if (!serves) process.exit(0) // a start may wait for long, and nothing is lost
    if (!closing) grace.close()
  }
})

try {
  await api.ready()
  await listen(api, api.settings, 'PORT')
  serves = true
  await primary.tell({ state: 'serves' })
} catch (error) {
  if (!closing) {
    api.log.debug({ err: error }, "the worker can't start")
    await primary.tell({
      state: 'failed',
      reason: error instanceof StartupError ? error.message : `the service can't start: ${(error as Error).message}`
    })
    await within(CLOSE_DELAY_MS, 'the end of all parts', api.close()).catch(() => {})
    process.exit(1)
  }
}
