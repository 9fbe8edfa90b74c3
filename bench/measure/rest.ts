import { setTimeout as delay } from 'node:timers/promises'
import { rssMegabytes } from '../rig/processes.ts'
import type { Measurement } from './measurement.ts'
import { ALL_ORDERS } from './posts.ts'
import { cpuSeconds } from './process.ts'
import { withTrial } from './trial.ts'

const STARTS = 3
const SETTLE_MS = 3_000
/**
 * V8 frees what starting up left behind once it saw 8 or 16 s with little to do (its memory reducer), so only then a
 * process is idle.
 */
const REST_MS = 20_000
const IDLE_MS = 10_000
const IDLE_MS_QUICK = 3_000

export const START: Measurement = {
  name: 'start',
  title: 'from launch to ready, with URLs given',
  kinds: ALL_ORDERS,
  figure: 'readyMs',
  unit: 'ms',
  quick: true,
  async run (stage, contestant) {
    const ready: number[] = []
    for (let i = 0; i < STARTS; i++) ready.push(await withTrial(stage, contestant, {}, async ({ readyMs }) => readyMs))
    return { readyMs: ready.toSorted((a, b) => a - b)[Math.floor(STARTS / 2)]! }
  }
}

export const IDLE: Measurement = {
  name: 'idle',
  title: 'nothing to do',
  kinds: ALL_ORDERS,
  figure: 'cpuPercent',
  unit: '% of a core',
  quick: true,
  roundsMax: 3,
  run: (stage, contestant) => withTrial(stage, contestant, {}, async ({ process: { pid } }) => {
    await delay(SETTLE_MS)
    const startRssMegabytes = rssMegabytes(pid)
    if (!stage.quick) await delay(REST_MS)
    const before = { cpu: cpuSeconds(pid), at: performance.now() }
    await delay(stage.quick ? IDLE_MS_QUICK : IDLE_MS)
    return {
      cpuPercent: (cpuSeconds(pid) - before.cpu) / (performance.now() - before.at) * 100_000,
      startRssMegabytes,
      rssMegabytes: rssMegabytes(pid)
    }
  })
}
