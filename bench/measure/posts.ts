import type { JobResult } from '../load/job.ts'
import type { Measurement } from './measurement.ts'
import { cpuSeconds } from './process.ts'
import { withTrial } from './trial.ts'

const OPEN_LOOP_CONNECTIONS = 256

export const ALL_ORDERS: Measurement['kinds'] = ['service', 'peer']

export const perSecond = ({ answers, ms }: JobResult): number => answers / ms * 1000

function posts (connections: number, quick: boolean): Measurement {
  return {
    name: `post-${connections}`,
    title: `POST, ${connections} connections`,
    kinds: ALL_ORDERS,
    figure: 'perSecond',
    unit: 'POST/s',
    quick,
    run: (stage, contestant) => withTrial(stage, contestant, {}, async (trial) => {
      const warm = await trial.load(connections, { ms: stage.warmUpMs }, { kind: 'posts' })
      const cpuBefore = cpuSeconds(trial.process.pid)
      const result = await trial.load(connections, { ms: stage.phaseMs }, { kind: 'posts' })
      const ended = performance.now()
      // Only when the last event is out has a POST cost all that it costs.
      const told = await trial.expectStoredAndTold([...warm.created, ...result.created])
      return {
        perSecond: perSecond(result),
        p50Ms: result.latencyMs.p50,
        p99Ms: result.latencyMs.p99,
        cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / result.answers * 1000,
        allToldAfterMs: Math.max(0, told - ended),
        generatorCores: result.cpuSeconds / result.ms * 1000
      }
    })
  }
}

export const POSTS_64 = posts(64, true)
export const POSTS_256 = posts(256, false)

/** As many as the slowest peer takes with ease, for all of them: what is compared is how long an answer takes. */
export const OPEN_LOOP: Measurement = {
  name: 'open-loop',
  title: 'POST at half the rate of the slowest peer',
  kinds: ALL_ORDERS,
  figure: 'p99Ms',
  unit: 'ms p99',
  quick: false,
  needs: POSTS_64.name,
  run: (stage, contestant) => withTrial(stage, contestant, {}, async (trial) => {
    const rates = ['go', 'fastify', 'express']
      .map((peer) => stage.measured(POSTS_64.name, peer, 'perSecond'))
      .filter((rate) => rate !== undefined)
    if (rates.length === 0) throw new Error("no peer's rate is known")
    const rate = Math.min(...rates) / 2
    const warm = await trial.load(OPEN_LOOP_CONNECTIONS, { ms: stage.warmUpMs, perSecond: rate }, { kind: 'posts' })
    const result = await trial.load(OPEN_LOOP_CONNECTIONS, { ms: stage.phaseMs, perSecond: rate }, { kind: 'posts' })
    await trial.expectStoredAndTold([...warm.created, ...result.created])
    return {
      p50Ms: result.latencyMs.p50,
      p99Ms: result.latencyMs.p99,
      maxMs: result.latencyMs.max,
      duePerSecond: rate,
      perSecond: perSecond(result)
    }
  })
}
