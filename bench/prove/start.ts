import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, launch, metric } from '../rig/service.ts'

const TRIES = 3
/** Far above what is measured on two busy cores: this finds waits that don't belong there, not slow machines. */
const WARM_MS_MAX = 15_000
const ALONE_MS_MAX = 5_000

async function run ({ dir, figure, expect }: Bench): Promise<void> {
  await measure(dir, {}, 1).then(({ ready }) => figure(`on empty data ${ready} ms`))

  const warm = await measure(dir, {}, TRIES)
  figure(`warm with its local parts ${warm.ready} ms, relay leads at ${warm.leads} ms`)
  expect(warm.best < WARM_MS_MAX, `a warm start takes more than ${WARM_MS_MAX} ms`)

  const { urls } = await startParts({ dir })
  const alone = await measure(
    dir,
    { MONGO_URL: urls.mongo!, REDIS_URL: urls.redis!, KAFKA_BROKERS: urls.kafka! },
    TRIES
  )
  figure(`service alone ${alone.ready} ms, relay leads at ${alone.leads} ms`)
  expect(alone.best < ALONE_MS_MAX, `a start with URLs takes more than ${ALONE_MS_MAX} ms`)
}

async function measure (
  dir: string,
  settings: Record<string, string>,
  tries: number
): Promise<{ ready: string, leads: string, best: number }> {
  const readies: number[] = []
  const leads: number[] = []
  for (let i = 0; i < tries; i++) {
    const service = launch(dir, settings)
    const ready = await service.ready()
    readies.push(ready)
    leads.push(
      ready + (await eventually('a leader', 30_000, async () => (await metric(service, 'relay_leader')) === 1))
    )
    await service.stop()
  }
  return { ready: range(readies), leads: range(leads), best: Math.min(...readies) }
}

function range (values: number[]): string {
  const [min, max] = [round(Math.min(...values)), round(Math.max(...values))]
  return min === max ? min : `${min}–${max}`
}

export default { name: 'start', title: 'from launch to ready', run } satisfies Scenario
