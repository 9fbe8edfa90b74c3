import { countOf, runLoad, type LoadOptions, type LoadResult } from '../clients/overload.ts'
import { percentile } from '../clients/open-loop.ts'
import { addressesIn } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, metric, startService } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

/** Kept busy throughout: the more of them, the longer a turn of the service's event loop. */
const BUSY_CONNECTIONS = 512
const AT_ONCE = 900
const NEW_PER_SECOND = 200
const SECONDS = 10
const WARM_UP_SECONDS = 3
/** Many clients give up after 5 to 15 s. With one connection accepted a turn the slowest answer took 7.6 s. */
const SLOWEST_MS_MAX = 5_000

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const service = await startService(dir)
  await eventually('a leader', 30_000, async () => await metric(service, 'relay_leader') === 1)
  const created = new Map<string, string>()
  const port = Number(new URL(service.url).port)
  async function load (first: number, options: Pick<LoadOptions, 'connections' | 'seconds' | 'rate' | 'fresh'>) {
    const result = await runLoad({ port, first, honourRetryAfter: true, ...options })
    for (const [id, body] of result.created) created.set(id, body)
    return result
  }

  await load(0, { connections: 64, seconds: WARM_UP_SECONDS })
  const [busy, fresh] = await Promise.all([
    load(1_000_000, { connections: BUSY_CONNECTIONS, seconds: SECONDS }),
    load(2_000_000, { connections: 0, seconds: SECONDS, rate: NEW_PER_SECOND, fresh: { atOnce: AT_ONCE } })
  ])
  const slowest = percentile(fresh.ms, 1)
  const unanswered = fresh.sent - fresh.ms.length
  figure(`next to ${BUSY_CONNECTIONS} busy connections, over new ones: ${describe(fresh)}`)
  detail(`over the busy ones: ${describe(busy)}`)
  expect(unanswered === 0, `${unanswered} POSTs over new connections had no answer`)
  expect(slowest <= SLOWEST_MS_MAX, `the slowest answer took ${round(slowest)} ms`)
  await verifyOrders(bench, created, addressesIn(dir))
  await service.stop()
}

function describe (result: LoadResult): string {
  const share = (part: number): string => `${round(percentile(result.ms, part))} ms`
  return `${result.ms.length} answers, ${countOf(result, 503)} of them 503, ` +
    `p50 ${share(0.5)}, p99 ${share(0.99)}, slowest ${share(1)}`
}

const title = `${AT_ONCE} new connections at once, and ${NEW_PER_SECOND} a second`
export default { name: 'burst', title, run } satisfies Scenario
