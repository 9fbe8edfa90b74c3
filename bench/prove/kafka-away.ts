import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { percentile, startOpenLoop, type Phase } from '../clients/open-loop.ts'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService, type Service } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const POSTS_PER_SECOND = 500
const WARM_MS = 10_000
const CALM_MS = 5_000
/** Enough POSTs for a p99 that doesn't change any more. */
const BEFORE_SECONDS_MAX = 120
const P99_RATIO_MAX = 1.5
const EVENTS_PER_SECOND_MIN = 5_000
const RETURN_MS_MAX = 60_000
const SAMPLE_MS = 50
const PUBLISHED = 'relay_events_published_total'

async function run (bench: Bench): Promise<void> {
  const { dir, seconds, figure, detail, expect } = bench
  const { urls, parts } = await startParts({ dir, fresh: true })
  const service = await startService(dir, {
    MONGO_URL: urls.mongo!,
    REDIS_URL: urls.redis!,
    KAFKA_BROKERS: urls.kafka!
  })
  await eventually('a leader', 30_000, async () => await metric(service, 'relay_leader') === 1)
  const load = startOpenLoop({ url: service.url, postsPerSecond: POSTS_PER_SECOND, first: 'warming up' })
  await delay(WARM_MS)
  const generator = measureThisProcess()
  const secondsBefore = Math.min(seconds, BEFORE_SECONDS_MAX)
  load.begin(`${secondsBefore} s before`)
  await delay(secondsBefore * 1000)

  load.begin(`${seconds} s without Kafka`)
  await parts.kafka!.kill()
  await delay(seconds * 1000)
  const costs = generator()

  load.begin('Kafka is back')
  const waiting = load.created.size - await metric(service, PUBLISHED)
  await parts.kafka!.start()
  const drained = await drain(service, () => load.created.size)
  await delay(CALM_MS)
  await load.stop()

  const [, before, without, after] = load.phases as [Phase, Phase, Phase, Phase]
  const failed = load.phases.reduce((sum, phase) => sum + phase.failed, 0)
  const p99 = ({ latencies }: Phase): number => percentile(latencies, 0.99)
  const ratio = p99(without) / p99(before)
  figure(
    `${POSTS_PER_SECOND} POST/s, Kafka SIGKILLed for ${seconds} s: ${failed} failed, p99 ${round(p99(without), 1)} ms without it and ${round(p99(before), 1)} ms before (${round(ratio, 2)} ×)`
  )
  figure(
    `${round(waiting)} events waited, the first came ${round(drained.firstMs / 1000, 1)} s after its return, then ${round(drained.events)} in ${round(drained.ms / 1000, 1)} s: ${round(drained.perSecond)} events/s`
  )
  for (const phase of [before, without, after]) detail(describe(phase))
  detail(`the load's own process: ${costs}`)
  expect(failed === 0, `requests failed: ${load.phases.find(({ failure }) => failure !== '')?.failure}`)
  expect(ratio <= P99_RATIO_MAX, `p99 without Kafka is ${round(ratio, 2)} × that with it`)
  expect(drained.perSecond >= EVENTS_PER_SECOND_MIN, `the backlog drained with ${round(drained.perSecond)} events/s`)
  const { stored } = await verifyOrders(bench, load.created, { mongoUrl: urls.mongo!, brokers: urls.kafka! })
  expect(stored === load.created.size, `${stored} orders are stored, ${load.created.size} were answered with 201`)
  await service.stop()
}

/** Follows the relay from the first event after Kafka's return to the last of those that waited then. */
async function drain (
  service: Service,
  created: () => number
): Promise<{ firstMs: number, ms: number, events: number, perSecond: number }> {
  const published = (): Promise<number> => metric(service, PUBLISHED)
  const before = await published()
  const firstMs = await eventually(
    "an event after Kafka's return",
    RETURN_MS_MAX,
    async () => (await published()) > before
  )
  const [start, first, backlog] = [performance.now(), await published(), created()]
  let now = first
  while (now < backlog) {
    if (performance.now() - start > ((backlog - first) / EVENTS_PER_SECOND_MIN) * 10_000 + RETURN_MS_MAX) {
      throw new Error(
        `of ${backlog} events only ${now} are published ${round((performance.now() - start) / 1000)} s after the first`
      )
    }
    await delay(SAMPLE_MS)
    now = await published()
  }
  const ms = performance.now() - start
  return { firstMs, ms, events: now - first, perSecond: ((now - first) / ms) * 1000 }
}

/** Whether the load itself is what is slow. */
function measureThisProcess (): () => string {
  const [cpu, start] = [process.cpuUsage(), performance.now()]
  const delays = monitorEventLoopDelay({ resolution: 5 })
  delays.enable()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    delays.disable()
    return `${round((user + system) / 10 / (performance.now() - start))} % of a core, event loop late by p50 ${round(delays.percentile(50) / 1e6 - 5, 1)} ms, p99 ${round(delays.percentile(99) / 1e6 - 5, 1)} ms`
  }
}

function describe ({ name, latencies, failed }: Phase): string {
  return `${name}: ${latencies.length} POSTs, ${failed} failed, p50 ${round(percentile(latencies, 0.5), 1)} ms, p99 ${round(percentile(latencies, 0.99), 1)} ms, longest ${round(percentile(latencies, 1))} ms`
}

export default { name: 'kafka-away', title: 'Kafka is dead under POSTs', run } satisfies Scenario
