import { fileURLToPath } from 'node:url'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Readiness } from '../schemas/readiness.ts'
import { combineReadiness } from '../src/readiness.ts'
import { createWorkersMetrics } from '../src/workers-metrics.ts'
import { createWorkers, type Workers } from '../src/workers.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Only in a primary. They are started by src/index.ts once everything else is there. */
    workers?: Workers
    /** Of all workers together. */
    workersOperations: { metrics: () => Promise<string>, readiness: () => Promise<Readiness> }
  }
}

const WORKER = fileURLToPath(new URL('../src/worker.js', import.meta.url))
/** Of CLOSE_DELAY_MS. The rest is for killing who is late, and for the local parts. */
const CLOSE_SHARE = 0.9
/** Longer than a worker waits for MongoDB at either. */
const METRICS_MS_MAX = 4_000
const READINESS_MS_MAX = 2_000

/** The workers, and what they tell of themselves, as one service. The primary itself serves no orders. */
export default fp(async (app) => {
  const { settings, log } = app
  const merged = createWorkersMetrics()
  const register = new Registry()
  collectDefaultMetrics({ register })
  const restarts = new Counter({ name: 'service_worker_ends_total', help: 'workers that ended and were not told to', registers: [register] })

  const workers = createWorkers({
    exec: WORKER,
    count: settings.WORKERS,
    env: () => Object.fromEntries(Object.entries(app.settings).map(([name, value]) => [name, String(value)])),
    closeMsMax: settings.CLOSE_DELAY_MS * CLOSE_SHARE,
    log,
    onEnd (worker) {
      merged.ended(worker)
      if (!app.closing) restarts.inc()
    }
  })
  app.decorate('workers', workers)
  app.addHook('onClose', () => workers.stop())

  const readiness = async (): Promise<Readiness> =>
    combineReadiness([...(await workers.ask('readiness', READINESS_MS_MAX)).values()], workers.count, app.closing)
  const ready = new Gauge({ name: 'service_workers_ready', help: 'workers that can serve requests', registers: [register] })
  // The workers tell it too; this one is there when none of them is.
  new Gauge({ name: 'service_ready', help: '1 while /readyz says ready', registers: [register], aggregator: 'max' }).set(0)
  app.decorate('workersOperations', {
    readiness,
    async metrics () {
      ready.set((await readiness()).workers!.ready)
      const primary = await register.getMetricsAsJSON()
      return await merged.merge(primary, await workers.ask('metrics', METRICS_MS_MAX))
    }
  })
}, { name: 'workers', dependencies: ['http', 'settings', 'local-parts'] })
