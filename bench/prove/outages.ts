import { setTimeout as delay } from 'node:timers/promises'
import { percentile, startOpenLoop, type Phase } from '../clients/open-loop.ts'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const POSTS_PER_SECOND = 200
const GETS_PER_SECOND = 500
const LATENCY_MS_MAX = 1_000
const DRAIN_MS_MAX = 60_000
const ALL_WELL = 'all well'

async function run (bench: Bench): Promise<void> {
  const { dir, seconds, figure, detail, expect } = bench
  const { urls, parts } = await startParts({ dir, fresh: true })
  const service = await startService(dir, {
    MONGO_URL: urls.mongo!,
    REDIS_URL: urls.redis!,
    KAFKA_BROKERS: urls.kafka!
  })
  await eventually('a leader', 30_000, async () => await metric(service, 'relay_leader') === 1)
  const { redis, kafka } = parts as Required<typeof parts>
  const load = startOpenLoop({
    url: service.url,
    postsPerSecond: POSTS_PER_SECOND,
    getsPerSecond: GETS_PER_SECOND,
    first: 'warming up'
  })
  const calm = (): Promise<void> => delay(Math.max(3, seconds / 6) * 1000)
  await calm()
  load.begin(ALL_WELL)
  await calm()

  load.begin(`Redis hangs for ${seconds} s`)
  redis.pause()
  await delay(seconds * 1000)
  load.begin('Redis goes on')
  redis.resume()
  await calm()

  load.begin(`Redis is dead for ${seconds} s`)
  await redis.kill()
  await delay(seconds * 1000)
  load.begin('Redis is started again')
  await redis.start()
  await calm()

  load.begin(`Kafka is dead for ${seconds} s`)
  await kafka.kill()
  await delay(seconds * 1000)
  load.begin('Kafka is started again')
  await kafka.start()
  const [stored, published] = [load.created.size, await metric(service, 'relay_events_published_total')]
  const drainMs = await eventually(
    'an empty backlog',
    DRAIN_MS_MAX,
    async () => (await metric(service, 'relay_events_published_total')) >= stored
  )
  await calm()
  await load.stop()

  figure(`${POSTS_PER_SECOND} POST/s + ${GETS_PER_SECOND} GET/s`)
  const measured = load.phases.slice(1) // the JIT warms up in the first
  for (const phase of measured) detail(describe(phase))
  const failed = measured.reduce((sum, phase) => sum + phase.failed, 0)
  const longest = Math.max(...measured.map(({ latencies }) => percentile(latencies, 1)))
  figure(
    `${failed} failed, longest ${round(longest)} ms, ${round(stored - published)} events waited for Kafka and were published ${round(drainMs / 1000, 1)} s after its return`
  )
  expect(failed === 0, `requests failed: ${measured.find(({ failure }) => failure !== '')?.failure}`)
  for (const { name, latencies } of measured) {
    const hint = name === ALL_WELL ? ', so this machine is too busy to tell' : ''
    expect(
      percentile(latencies, 1) < LATENCY_MS_MAX,
      `${name}: a request took ${round(percentile(latencies, 1))} ms${hint}`
    )
  }
  await verifyOrders(bench, load.created, { mongoUrl: urls.mongo!, brokers: urls.kafka! })
  await service.stop()
}

function describe ({ name, latencies, failed }: Phase): string {
  return `${name}: ${latencies.length} requests, ${failed} failed, p50 ${round(percentile(latencies, 0.5), 1)} ms, p99 ${round(percentile(latencies, 0.99), 1)} ms, longest ${round(percentile(latencies, 1))} ms`
}

export default { name: 'outages', title: 'Redis and Kafka away', run } satisfies Scenario
