import { setTimeout as delay } from 'node:timers/promises'
import { createClient } from '../clients/client.ts'
import { countOf, goodput, latency, runLoad, type LoadOptions, type LoadResult } from '../clients/overload.ts'
import { percentile } from '../clients/open-loop.ts'
import { addressesIn } from '../rig/parts.ts'
import { rssMegabytes } from '../rig/processes.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService, type Service, type Settings } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const CONNECTIONS = [64, 128, 256]
const STEP_SECONDS = 4
/** In which the JIT compiler warms up. */
const WARM_UP_SECONDS = 5
const OVERLOAD_SECONDS = 10
const LIGHT_SECONDS = 8
const LIGHT_CONNECTIONS = 16
/** Of those who ask regardless: far more than any queue of the service is to take. */
const FLOOD_CONNECTIONS = 2_000
const SHORT_WAIT_MS = 40
const SAMPLE_MS = 50
const WINDOW_MS = 500

const GOODPUT_SHARE_MIN = 0.8
const SHED_P99_MS_MAX = 20
/**
 * Of clients that come again at once nothing is promised but that the service lives: to refuse them takes all that it
 * has.
 */
const FLOOD_GOODPUT_SHARE_MIN = 0.1
const RECOVERY_MS_MAX = 5_000
const GROWTH_MB_MAX = 200
/** What belongs to a busy machine and is no sign of overload. */
const NOISE_MS = 25

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const created = new Map<string, string>()
  let first = 0
  let service = await start()

  async function start (settings: Settings = {}): Promise<Service> {
    const started = await startService(dir, settings)
    await eventually('a leader', 30_000, async () => await metric(started, 'relay_leader') === 1)
    return started
  }

  async function load (
    options: Omit<LoadOptions, 'port' | 'first' | 'honourRetryAfter'>,
    honourRetryAfter = true
  ): Promise<LoadResult> {
    const port = Number(new URL(service.url).port)
    const result = await runLoad({ port, first, honourRetryAfter, ...options })
    first += result.sent
    for (const [id, body] of result.created) created.set(id, body)
    return result
  }

  /** The overload of a phase, with what others see of the service meanwhile. */
  async function overload (
    name: string,
    peak: number,
    options: Parameters<typeof load>[0],
    honour: boolean
  ): Promise<LoadResult> {
    const watched = watch(service, [...created.keys()].slice(-50))
    const result = await load(options, honour)
    const { before, most, reads, failedReads } = await watched.stop()
    const rate = goodput(result, options.seconds, 1)
    detail(
      `${name}: ${describe(result)}, ${round(rate)} × 201/s (${round((rate / peak) * 100)} % of the peak), RSS ${round(before)} MB, at most +${round(most - before)} MB; beside it ${reads.length} GETs of an order and of /livez, ${failedReads} failed, p99 ${round(percentile(reads, 0.99), 1)} ms`
    )
    expect(
      rate >= (honour ? GOODPUT_SHARE_MIN : FLOOD_GOODPUT_SHARE_MIN) * peak,
      `${name}: goodput is ${round((rate / peak) * 100)} % of the peak`
    )
    expect(most - before < GROWTH_MB_MAX, `${name}: the service grew by ${round(most - before)} MB`)
    expect(result.unanswered === 0, `${name}: ${result.unanswered} requests had no answer`)
    expect(failedReads === 0, `${name}: ${failedReads} reads failed`)
    const shedP99 = latency(result, 503, 0.99)
    expect(!honour || !(shedP99 > SHED_P99_MS_MAX), `${name}: p99 of what was shed is ${round(shedP99)} ms`)
    return result
  }

  async function recover (name: string, peak: number, normal: number): Promise<void> {
    const result = await load({ connections: LIGHT_CONNECTIONS, seconds: LIGHT_SECONDS, rate: peak / 10 })
    const ms = recoveryMs(result, Math.max(2 * normal, NOISE_MS))
    detail(`${name}: ${describe(result)}; as before after ${round(ms)} ms`)
    expect(ms <= RECOVERY_MS_MAX, `${name}: recovered after ${round(ms)} ms`)
  }

  await load({ connections: 64, seconds: WARM_UP_SECONDS })
  let [peak, connections] = [0, 0]
  for (const count of CONNECTIONS) {
    const result = await load({ connections: count, seconds: STEP_SECONDS })
    const rate = goodput(result, STEP_SECONDS)
    detail(`${count} connections: ${describe(result)}, ${round(rate)} × 201/s`)
    if (rate > peak) [peak, connections] = [rate, count]
  }
  figure(`peak ${round(peak)} POST/s at ${connections} connections`)
  await delay(2_000)
  const light = await load({ connections: LIGHT_CONNECTIONS, seconds: LIGHT_SECONDS, rate: peak / 10 })
  const normal = latency(light, 201, 0.99)
  detail(`a tenth of the peak: ${describe(light)}`)

  const thrice = { connections: 3 * connections, seconds: OVERLOAD_SECONDS }
  for (const [name, settings, options, honour] of [
    [`${thrice.connections} connections that honour Retry-After`, undefined, thrice, true],
    [
      "twice the peak from clients that don't care",
      undefined,
      { connections: FLOOD_CONNECTIONS, seconds: OVERLOAD_SECONDS, rate: 2 * peak },
      false
    ],
    // The default leaves room for all of the first phase.
    [
      `${thrice.connections} connections and POST_WAIT_MS_MAX=${SHORT_WAIT_MS}`,
      { POST_WAIT_MS_MAX: String(SHORT_WAIT_MS) },
      thrice,
      true
    ]
  ] as const) {
    if (settings !== undefined) {
      await service.stop()
      service = await start(settings)
      await load({ connections: 64, seconds: WARM_UP_SECONDS })
    }
    const result = await overload(name, peak, options, honour)
    figure(
      `${name}: ${round((goodput(result, OVERLOAD_SECONDS, 1) / peak) * 100)} % of it, ${countOf(result, 503)} shed${countOf(result, 503) === 0 ? '' : ` in p99 ${round(latency(result, 503, 0.99))} ms`}`
    )
    await recover(`after ${name}`, peak, normal)
  }
  await verifyOrders(bench, created, addressesIn(dir))
  await service.stop()
}

function describe (result: LoadResult): string {
  const part = (name: string, status: number): string =>
    countOf(result, status) === 0
      ? `0 ${name}`
      : `${countOf(result, status)} ${name} (p50 ${round(latency(result, status, 0.5), 1)}, p99 ${round(latency(result, status, 0.99), 1)} ms)`
  const codes = [...result.codes].map(([code, count]) => `${count} × ${code}`).join(', ')
  return `${part('accepted', 201)}, ${part('shed', 503)}${codes === '' ? '' : ` [${codes}]`}`
}

/** ms until the first window in which nothing was shed and the p99 is what it was. */
function recoveryMs ({ at, ms, statuses }: LoadResult, p99Max: number): number {
  for (let from = 0; from < LIGHT_SECONDS * 1000; from += WINDOW_MS) {
    const inside = at.flatMap((time, index) => time >= from && time < from + WINDOW_MS ? [index] : [])
    if (
      inside.length > 0 &&
      inside.every((index) => statuses[index] === 201) &&
      percentile(
        inside.map((index) => ms[index]!),
        0.99
      ) <= p99Max
    ) { return from }
  }
  return Infinity
}

/** Memory, and what those get who read an order or ask whether the service lives. */
function watch ({ pid, url, operationsUrl }: Service, ids: string[]) {
  const before = rssMegabytes(pid)
  let most = before
  let failedReads = 0
  const reads: number[] = []
  const clients = [createClient(url, 4), createClient(operationsUrl, 4)]
  async function read (client: ReturnType<typeof createClient>, path: string): Promise<void> {
    const start = performance.now()
    const { status } = await client.send('GET', path)
    reads.push(performance.now() - start)
    if (status !== 200) failedReads++
  }
  const pending: Promise<void>[] = []
  const sampling = setInterval(() => {
    most = Math.max(most, rssMegabytes(pid))
    pending.push(read(clients[0]!, `/orders/${ids[pending.length % ids.length]}`), read(clients[1]!, '/livez'))
  }, SAMPLE_MS)
  return {
    async stop () {
      clearInterval(sampling)
      await Promise.all(pending)
      for (const client of clients) client.close()
      return { before, most, reads, failedReads }
    }
  }
}

export default {
  name: 'overload',
  title: 'three times the connections of the peak, and twice its rate',
  run
} satisfies Scenario
