import { startGenerator } from '../load/generator.ts'
import { rssMegabytes } from '../rig/processes.ts'
import type { Measurement } from './measurement.ts'
import { ALL_ORDERS, perSecond } from './posts.ts'
import { cpuSeconds, peakRssMegabytes } from './process.ts'
import { listBytes, seed, type Seeded } from './seed.ts'
import type { Stage } from './stage.ts'
import { withTrial } from './trial.ts'

const ORDERS = 10_000
const MANY_ORDERS = 1_000_000
const HOT_ORDERS = 100
/** What is asked for during the long list: little enough that an idle service answers each at once. */
const HOT_PER_SECOND = 200
const HOT_CONNECTIONS = 16
const HOT_MS_MAX = 120_000
const DATABASE = 'bench_million'

export const LIST: Measurement = {
  name: 'list',
  title: `GET / of ${ORDERS.toLocaleString('en')} orders, one reader`,
  kinds: ALL_ORDERS,
  figure: 'perSecond',
  unit: 'lists/s',
  quick: true,
  run: (stage, contestant) => withTrial(stage, contestant, { orders: ORDERS }, async (trial) => {
    await trial.load(1, { ms: stage.warmUpMs }, { kind: 'list' })
    const cpuBefore = cpuSeconds(trial.process.pid)
    const result = await trial.load(1, { ms: stage.phaseMs }, { kind: 'list' })
    const bytes = result.bytes / result.answers
    // A line end after the array is nothing that a reader would miss.
    if (Math.abs(bytes - listBytes(trial.seeded)) > 1) {
      throw new Error(`a list of ${bytes} bytes, but ${listBytes(trial.seeded)} are expected`)
    }
    return {
      perSecond: perSecond(result),
      firstByteMs: result.firstByteMs.p50,
      cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / result.answers * 1000,
      peakRssMegabytes: peakRssMegabytes(trial.process.pid)
    }
  })
}

let million: Promise<Seeded> | undefined

async function seedMillion ({ mongo }: Stage): Promise<Seeded> {
  const db = mongo.db(DATABASE)
  await db.dropDatabase()
  return await seed(db.collection('orders'), MANY_ORDERS, true)
}

/** Peers hold the whole list in memory more than once. */
export const LIST_MILLION: Measurement = {
  name: 'list-million',
  title: `GET / of ${MANY_ORDERS.toLocaleString('en')} orders, hot GETs next to it`,
  kinds: ['service'],
  figure: 'ordersPerSecond',
  unit: 'orders/s',
  quick: false,
  async run (stage, contestant) {
    const seeded = await (million ??= seedMillion(stage))
    return await withTrial(stage, contestant, { database: { name: DATABASE, seeded } }, async (trial) => {
      const beside = startGenerator()
      const hot = { kind: 'gets' as const, ids: trial.ids.slice(0, HOT_ORDERS) }
      const rate = { perSecond: HOT_PER_SECOND }
      try {
        await trial.load(HOT_CONNECTIONS, { ms: stage.warmUpMs }, hot, beside)
        const idle = await trial.load(HOT_CONNECTIONS, { ms: stage.phaseMs, ...rate }, hot, beside)
        const rssBefore = rssMegabytes(trial.process.pid)
        const reading = trial.load(HOT_CONNECTIONS, { ms: HOT_MS_MAX, ...rate }, hot, beside)
        const list = await trial.load(1, { count: 1 }, { kind: 'list' }).finally(() => beside.endJob())
        const busy = await reading
        if (list.bytes !== listBytes(seeded)) {
          throw new Error(`a list of ${list.bytes} bytes, but ${listBytes(seeded)} are expected`)
        }
        return {
          ordersPerSecond: MANY_ORDERS / list.ms * 1000,
          totalMs: list.ms,
          firstByteMs: list.firstByteMs.p50,
          rssBeforeMegabytes: rssBefore,
          peakRssMegabytes: peakRssMegabytes(trial.process.pid),
          hotP99IdleMs: idle.latencyMs.p99,
          hotP99BesideMs: busy.latencyMs.p99,
          hotP99Times: busy.latencyMs.p99 / idle.latencyMs.p99
        }
      } finally {
        beside.end()
      }
    })
  }
}
