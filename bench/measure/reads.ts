import type { Contestant } from './contestants.ts'
import type { Figures, Measurement } from './measurement.ts'
import { ALL_ORDERS, perSecond } from './posts.ts'
import { cpuSeconds } from './process.ts'
import type { Stage } from './stage.ts'
import { withTrial } from './trial.ts'

const CONNECTIONS = 64
const ORDERS = 10_000
const HOT_ORDERS = 100
const WARM_UP_READS = 3 * ORDERS
const POST_SHARE = 0.1
const EVERYONE: Contestant['kind'][] = ['service', 'peer', 'ceiling']

async function gets (stage: Stage, contestant: Contestant, ids: number): Promise<Figures> {
  return withTrial(stage, contestant, { orders: contestant.kind === 'ceiling' ? ids : ORDERS }, async (trial) => {
    const requests = { kind: 'gets' as const, ids: trial.ids.slice(0, ids) }
    // Each once, so that all are where they can be found, however short the warm-up is.
    await trial.readEach(CONNECTIONS, 0, ids)
    await trial.load(CONNECTIONS, { ms: stage.warmUpMs }, requests)
    const cpuBefore = cpuSeconds(trial.process.pid)
    const result = await trial.load(CONNECTIONS, { ms: stage.phaseMs }, requests)
    return {
      perSecond: perSecond(result),
      p99Ms: result.latencyMs.p99,
      cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / result.answers * 1000,
      generatorCores: result.cpuSeconds / result.ms * 1000
    }
  })
}

const shared = { figure: 'perSecond', unit: 'GET/s' }

export const GET_HOT: Measurement = {
  ...shared,
  name: 'get-hot',
  title: `GET of ${HOT_ORDERS} orders`,
  kinds: EVERYONE,
  quick: true,
  run: (stage, contestant) => gets(stage, contestant, HOT_ORDERS)
}

export const GET_UNIFORM: Measurement = {
  ...shared,
  name: 'get-uniform',
  title: `GET of ${ORDERS.toLocaleString('en')} orders`,
  kinds: EVERYONE,
  quick: false,
  run: (stage, contestant) => gets(stage, contestant, ORDERS)
}

/**
 * The process is new and Redis empty. The warm-up reads other orders, so that what is measured are the caches and not
 * the compiler.
 */
export const GET_COLD: Measurement = {
  ...shared,
  name: 'get-cold',
  title: `GET of ${ORDERS.toLocaleString('en')} orders, each once, caches empty`,
  kinds: ALL_ORDERS,
  quick: true,
  run: (stage, contestant) => withTrial(stage, contestant, { orders: ORDERS + WARM_UP_READS }, async (trial) => {
    await trial.readEach(CONNECTIONS, ORDERS, ORDERS + WARM_UP_READS)
    const cpuBefore = cpuSeconds(trial.process.pid)
    const result = await trial.readEach(CONNECTIONS, 0, ORDERS)
    return {
      perSecond: perSecond(result),
      p99Ms: result.latencyMs.p99,
      cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / result.answers * 1000
    }
  })
}

/** As many as a DataLoader asks for at once. */
const BATCH = 250
const BATCH_CONNECTIONS = 8
const BATCHED_ORDERS = 50_000

export const IDS_COLD: Measurement = {
  name: 'ids-cold',
  title: `GET of ${BATCH} orders by their ids, each once, caches empty`,
  kinds: ALL_ORDERS,
  without: ['fastify', 'express'],
  figure: 'perSecond',
  unit: 'orders/s',
  quick: false,
  run: (stage, contestant) => withTrial(stage, contestant, { orders: 2 * BATCHED_ORDERS }, async (trial) => {
    const read = (from: number) => {
      const ids = Array.from({ length: BATCHED_ORDERS / BATCH }, (_, index) =>
        `?ids=${trial.ids.slice(from + index * BATCH, from + (index + 1) * BATCH).join()}`)
      return trial.load(BATCH_CONNECTIONS, { count: ids.length }, { kind: 'gets', ids, inTurn: true })
    }
    await read(BATCHED_ORDERS)
    const cpuBefore = cpuSeconds(trial.process.pid)
    const result = await read(0)
    const sizes = trial.seeded.sizes.slice(0, BATCHED_ORDERS).reduce((sum, size) => sum + size, 0)
    const expected = sizes + BATCHED_ORDERS + BATCHED_ORDERS / BATCH // commas and brackets
    if (result.bytes !== expected) throw new Error(`orders of ${result.bytes} bytes, but ${expected} are expected`)
    return {
      perSecond: BATCH * perSecond(result),
      p99Ms: result.latencyMs.p99,
      cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / BATCHED_ORDERS * 1000
    }
  })
}

export const MIXED: Measurement = {
  name: 'mixed',
  title: '90 % GET, 10 % POST',
  kinds: ALL_ORDERS,
  figure: 'perSecond',
  unit: 'requests/s',
  quick: true,
  run: (stage, contestant) => withTrial(stage, contestant, { orders: ORDERS }, async (trial) => {
    const requests = { kind: 'mixed' as const, ids: trial.ids, postShare: POST_SHARE }
    await trial.readEach(CONNECTIONS, 0, ORDERS)
    const warm = await trial.load(CONNECTIONS, { ms: stage.warmUpMs }, requests)
    const cpuBefore = cpuSeconds(trial.process.pid)
    const result = await trial.load(CONNECTIONS, { ms: stage.phaseMs }, requests)
    await trial.expectStoredAndTold([...warm.created, ...result.created])
    return {
      perSecond: perSecond(result),
      p99Ms: result.latencyMs.p99,
      cpuSecondsPer1000: (cpuSeconds(trial.process.pid) - cpuBefore) / result.answers * 1000
    }
  })
}
