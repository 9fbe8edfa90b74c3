import { fileURLToPath } from 'node:url'
import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import type { Readiness } from '../schemas/readiness.ts'
import { combineReadiness, SERVICE_READY } from '../src/process/readiness.ts'
import { createWorkersMetrics } from '../src/workers/metrics.ts'
import { createWorkers, type Workers } from '../src/workers/supervisor.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Only in a primary. They are started by src/index.ts once everything else is there. */
    workers?: Workers
    /** Of all workers together. */
    workersOperations: { metrics: () => Promise<string>, readiness: () => Promise<Readiness> }
  }
}

const WORKER = fileURLToPath(new URL('../src/worker.js', import.meta.url))
/** Of CLOSE_DELAY_MS. The rest is for killing workers that are late, and for the local parts. */
const CLOSE_SHARE = 0.9
/** Longer than a worker waits for MongoDB at either. Prometheus gives a scrape up after some seconds. */
const METRICS_MS_MAX = 2_000
const READINESS_MS_MAX = 1_500

/** The workers, and what they report, as one service. The primary itself serves no orders. */
export default fp(async (app) => {
  const { settings, log } = app
  const merged = createWorkersMetrics(SERVICE_READY.name)
  const register = new Registry()
  collectDefaultMetrics({ register })
  const restarts = new Counter({
    name: 'service_worker_ends_total',
    help: 'workers that ended without being asked to',
    registers: [register]
  })

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
  const ready = new Gauge({
    name: 'service_workers_ready',
    help: 'workers that can serve requests',
    registers: [register]
  })
  const serviceReady = new Gauge({ ...SERVICE_READY, registers: [register] })
  app.decorate('workersOperations', {
    readiness,
    async metrics () {
      const [now, answers] = await Promise.all([readiness(), workers.ask('metrics', METRICS_MS_MAX)])
      ready.set(now.workers!.ready)
      serviceReady.set(now.status === 'ready' ? 1 : 0)
      return await merged.merge(await register.getMetricsAsJSON(), answers)
    }
  })
}, { name: 'workers', dependencies: ['http', 'settings', 'local-parts'] })
