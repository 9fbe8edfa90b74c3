import t, { type Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { forkService, startOwnPart } from '../support/faults.ts'
import { databaseUrl, eventually, newNamespace } from '../helper.ts'
import { isAlive, startWorkers } from '../support/worker-processes.ts'

/** Prometheus gives a scrape up after 10 s, and many a probe after 5; no more than 3 s are promised. */
const ANSWER_MS_MAX = 5_000

const part = await startOwnPart(t, 'mongo')

async function start (t: Test, workers: number) {
  const settings: Partial<Settings> = {
    MONGO_URL: databaseUrl(newNamespace(), part.url),
    REDIS_URL: 'off',
    KAFKA_BROKERS: 'off'
  }
  return workers === 1 ? { service: await forkService(t, settings), workers: [] } : await startWorkers(t, settings)
}

async function answers (t: Test, operationsUrl: string, ready: 0 | 1, what: string): Promise<void> {
  // Several at once, as scrapes and probes come: none waits for another.
  await Promise.all([1, 2, 3].map(async () => {
    const metrics = await fetch(`${operationsUrl}/metrics`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    const text = await metrics.text()
    t.match(text, new RegExp(`^service_ready ${ready}$`, 'm'), what)
    // It is measured once a second at most.
    if (what !== 'MongoDB hangs') t.equal(/^relay_lag_events \d/m.test(text), ready === 1, 'a lag that can be measured')
    const readyz = await fetch(`${operationsUrl}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
    t.equal(readyz.status, ready === 1 ? 200 : 503, what)
  }))
}

for (const count of [1, 2]) {
  t.test(
    `metrics and readiness of ${count === 1 ? 'one process' : 'workers'} come in time while MongoDB hangs or is dead`,
    async (t) => {
      const {
        service: { operationsUrl }
      } = await start(t, count)
      await eventually(async () => (await fetch(`${operationsUrl}/readyz`)).status === 200, 20_000)
      await answers(t, operationsUrl, 1, 'MongoDB is there')
      part.pause()
      // A ping that is on its way may still be answered.
      await eventually(async () => (await fetch(`${operationsUrl}/readyz`)).status === 503, 5_000, 'MongoDB hangs')
      await answers(t, operationsUrl, 0, 'MongoDB hangs')
      part.resume()
      await part.kill()
      await answers(t, operationsUrl, 0, 'MongoDB is dead')
      await answers(t, operationsUrl, 0, 'and stays so')
      await part.start()
      await eventually(async () => (await fetch(`${operationsUrl}/readyz`)).status === 200, 20_000, 'readiness')
    }
  )
}

t.test('metrics and readiness come in time while a worker hangs', async (t) => {
  const { service: { operationsUrl }, workers } = await start(t, 2)
  process.kill(workers[0]!, 'SIGSTOP')
  t.teardown(() => process.kill(workers[0]!, 'SIGCONT'))
  await answers(t, operationsUrl, 1, 'one of two workers hangs')
  t.ok(isAlive(workers[0]!))
})
