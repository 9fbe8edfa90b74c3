import { percentiles } from '../load/job.ts'
import { eventually, metric } from '../rig/service.ts'
import type { Measurement } from './measurement.ts'
import { POSTS_64 } from './posts.ts'
import { withTrial } from './trial.ts'

const CONNECTIONS = 64
const BACKLOG_ORDERS = 50_000
const BACKLOG_ORDERS_QUICK = 10_000
const EVENTS_MS_MAX = 60_000

/**
 * Peers answer only after the send, so that their events are there before the answer: what this compares to is in how
 * long they take.
 */
export const LAG: Measurement = {
  name: 'event-lag',
  title: 'from the 201 to the event, at half of the measured POST/s',
  kinds: ['service'],
  figure: 'p50Ms',
  unit: 'ms p50',
  quick: true,
  needs: POSTS_64.name,
  run: (stage, contestant) => withTrial(stage, contestant, {}, async (trial) => {
    const rate = (stage.measured(POSTS_64.name, contestant.name, 'perSecond') ?? NaN) / 2
    const toldAt = new Map<string, number>()
    const stop = await stage.topics.follow(trial.topic, (key, at) => { toldAt.set(key, at) })
    try {
      const warm = await trial.load(CONNECTIONS, { ms: stage.warmUpMs, perSecond: rate }, { kind: 'posts' })
      const result = await trial.load(CONNECTIONS, { ms: stage.phaseMs, perSecond: rate }, { kind: 'posts' })
      await eventually('all events', EVENTS_MS_MAX, () => toldAt.size >= warm.created.length + result.created.length)
      const lag = percentiles(result.created.map((id, index) => toldAt.get(id)! - result.createdAt[index]!))
      await trial.expectStoredAndTold([...warm.created, ...result.created])
      return { p50Ms: lag.p50, p99Ms: lag.p99, maxMs: lag.max, duePerSecond: rate }
    } finally {
      await stop()
    }
  })
}

/** Orders are stored by a service without a relay, then one with a relay starts. Its time counts from when it leads. */
export const DRAIN: Measurement = {
  name: 'drain',
  title: 'events of orders stored while there was no relay',
  kinds: ['service'],
  figure: 'perSecond',
  unit: 'events/s',
  quick: true,
  run: (stage, contestant) => withTrial(stage, contestant, {}, async (trial) => {
    const count = stage.quick ? BACKLOG_ORDERS_QUICK : BACKLOG_ORDERS
    await trial.restart({ KAFKA_BROKERS: 'off' })
    const { created } = await trial.load(CONNECTIONS, { count }, { kind: 'posts' })
    await trial.restart()
    const published = (): Promise<number> => metric(trial.process, 'relay_events_published_total')
    await eventually('a leader', EVENTS_MS_MAX, async () => await metric(trial.process, 'relay_leader') === 1)
    const ms = await eventually('the end of the backlog', EVENTS_MS_MAX, async () => await published() >= count)
    await trial.expectStoredAndTold(created)
    return { perSecond: count / ms * 1000, orders: count }
  })
}
