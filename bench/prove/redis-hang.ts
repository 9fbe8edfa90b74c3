import { setTimeout as delay } from 'node:timers/promises'
import { createClient, postOrders } from '../clients/client.ts'
import { percentile } from '../clients/open-loop.ts'
import { startPace } from '../clients/pace.ts'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService, type Service } from '../rig/service.ts'

const ORDERS = 20_000
/** Read again and again, so that the process has them. Of the others one read in twenty finds its order there. */
const HOT_ORDERS = 50
const HOT_SHARE = 0.5
const GETS_PER_SECOND = 500
/** Above the time that the process keeps an order. */
const PROCESS_TTL_MS = 5_000
const CONNECTIONS = 128
const NORMAL_MS = 15_000
const HANG_MS_MAX = 30_000
const BACK_MS_MAX = 15_000
/** All that the reads of the first moment may lose, and how much slower those after it may be. */
const FIRST_SECOND_P99_MS_MAX = 60
const ABOVE_NORMAL_MS_MAX = 5
const REDIS_HITS = 'cache_requests_total{tier="redis",result="hit"}'

interface Window { name: string, latencies: number[], failures: string[], redisHits: number }

async function run ({ dir, seconds, figure, detail, expect }: Bench): Promise<void> {
  const { urls, parts } = await startParts({ dir, fresh: true })
  const service = await startService(dir, {
    MONGO_URL: urls.mongo!,
    REDIS_URL: urls.redis!,
    KAFKA_BROKERS: 'off',
    REDIS_TTL_SECONDS: '3600'
  })
  const { created } = await postOrders({ url: service.url, connections: 64, count: ORDERS })
  const orders = [...created]
  const client = createClient(service.url, CONNECTIONS)
  // A POST puts its order into the process only: read once after that, it is in Redis.
  await delay(PROCESS_TTL_MS)
  for (let i = 0; i < orders.length; i += CONNECTIONS) {
    await Promise.all(orders.slice(i, i + CONNECTIONS).map(([id]) => client.send('GET', `/orders/${id}`)))
  }

  const windows: Window[] = []
  const pending = new Set<Promise<void>>()
  async function read (due: number, { latencies, failures }: Window): Promise<void> {
    const [id, body] = orders[Math.floor(Math.random() * (Math.random() < HOT_SHARE ? HOT_ORDERS : orders.length))]!
    const answer = await client.send('GET', `/orders/${id}`)
    latencies.push(performance.now() - due)
    if (answer.status !== 200 || answer.body !== body) failures.push(`${answer.status} ${answer.body}`)
  }
  async function begin (name: string): Promise<Window> {
    const hits = await metric(service, REDIS_HITS)
    const last = windows.at(-1)
    if (last !== undefined) last.redisHits += hits
    const window = { name, latencies: [], failures: [], redisHits: -hits }
    windows.push(window)
    return window
  }

  await begin('warming up')
  const stop = startPace(GETS_PER_SECOND, (_n, due) => {
    const request = read(due, windows.at(-1)!)
    pending.add(request)
    request.finally(() => pending.delete(request))
  })
  await delay(NORMAL_MS / 3)
  const normal = await begin('normal')
  await delay(NORMAL_MS)
  const first = await begin('Redis hangs, first second')
  parts.redis!.pause()
  await delay(1_000)
  const hanging = await begin('Redis hangs, after it')
  const hangMs = Math.min(seconds * 1000, HANG_MS_MAX)
  await delay(hangMs)
  const returning = await begin('Redis goes on, until it is used again')
  parts.redis!.resume()
  const backMs = await backInUse(service)
  const back = await begin('back to normal')
  await delay(NORMAL_MS)
  await begin('')
  stop()
  await Promise.all(pending)
  client.close()

  const p99 = ({ latencies }: Window): number => percentile(latencies, 0.99)
  for (const { name, latencies, failures, redisHits } of [normal, first, hanging, returning, back]) {
    detail(
      `${name}: ${latencies.length} GETs, ${failures.length} failed, p50 ${round(percentile(latencies, 0.5), 1)} ms, p99 ${round(percentile(latencies, 0.99), 1)} ms, longest ${round(percentile(latencies, 1))} ms, ${redisHits} orders from Redis`
    )
  }
  figure(
    `${GETS_PER_SECOND} GET/s, p99 ${round(p99(normal), 1)} ms; Redis hangs for ${round(hangMs / 1000)} s: ${round(p99(first), 1)} ms in the first second, ${round(p99(hanging), 1)} ms after it; goes on: used again after ${round(backMs)} ms, then ${round(p99(back), 1)} ms`
  )
  const failures = windows.flatMap((window) => window.failures)
  expect(failures.length === 0, `${failures.length} GETs failed, as ${failures[0]}`)
  expect(
    normal.redisHits > ((NORMAL_MS / 1000) * GETS_PER_SECOND) / 4,
    `Redis was asked for ${normal.redisHits} orders only, so its hanging proves nothing`
  )
  expect(p99(first) <= FIRST_SECOND_P99_MS_MAX, `in the first second p99 is ${round(p99(first), 1)} ms`)
  expect(p99(hanging) <= p99(normal) + ABOVE_NORMAL_MS_MAX, `while Redis hangs p99 is ${round(p99(hanging), 1)} ms`)
  expect(p99(back) <= p99(normal) + ABOVE_NORMAL_MS_MAX, `when Redis is back p99 is ${round(p99(back), 1)} ms`)
  await service.stop()
}

/** @returns ms until an order comes from Redis */
async function backInUse (service: Service): Promise<number> {
  const before = await metric(service, REDIS_HITS)
  return await eventually('the use of Redis', BACK_MS_MAX, async () => await metric(service, REDIS_HITS) > before)
}

export default { name: 'redis-hang', title: 'Redis hangs under GETs', run } satisfies Scenario
