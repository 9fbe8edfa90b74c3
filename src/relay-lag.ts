import { ObjectId, type Collection, type Db } from 'mongodb'
import type { ClusterTime } from './change-event.ts'
import { deadline } from './deadline.ts'
import { writtenByUs, type OrderDocument } from './models.ts'
import { AHEAD_SECONDS_MAX, firstIdOf, INSERT_SECONDS_MAX } from './order-id.ts'

/** Beyond it the exact number says no more than that it is large, and counting would cost. */
const COUNT_MAX = 100_000
const MEASURE_MS_MAX = 2_000
/** Two metrics ask at the same scrape. */
const REUSE_MS = 1_000

export interface RelayLag { events: number, seconds: number }

export interface Progress {
  /** The newest published order. */
  orderId?: string | undefined
  /** All that was inserted before this time of the cluster is published. */
  drained?: ClusterTime | undefined
}

/**
 * How far the relay is behind, as MongoDB shows it, so that it can be seen while Kafka is down or nobody leads: the orders newer
 * than what is known to be published. Ids grow with time, so this is exact but for orders of one second in several replicas; those of
 * a clock that is a minute ahead count once their time has come. `events` is at most 100,000.
 */
export function createRelayLag ({ db, collection, progress }: { db: Db, collection: Collection<OrderDocument>, progress: () => Promise<Progress> }) {
  let measured: Promise<RelayLag> | undefined
  let measuredAt = -Infinity

  async function measure (): Promise<RelayLag> {
    const { orderId = firstIdOf(0), drained } = await progress()
    const surely = drained === undefined ? firstIdOf(0) : firstIdOf(drained.t - INSERT_SECONDS_MAX)
    const { operationTime } = await db.command({ ping: 1 }, deadline(MEASURE_MS_MAX))
    const now = firstIdOf(operationTime.t + AHEAD_SECONDS_MAX)
    const behind = { _id: { $gt: new ObjectId(orderId > surely ? orderId : surely), $lt: new ObjectId(now) }, ...writtenByUs() }
    const [events, oldest] = await Promise.all([
      collection.countDocuments(behind, { limit: COUNT_MAX, ...deadline(MEASURE_MS_MAX) }),
      collection.findOne(behind, { sort: { _id: 1 }, projection: { createdAt: 1 }, ...deadline(MEASURE_MS_MAX) })
    ])
    return { events, seconds: oldest === null ? 0 : Math.max(0, (Date.now() - oldest.createdAt.getTime()) / 1000) }
  }

  return async function lag (): Promise<RelayLag | undefined> {
    if (performance.now() - measuredAt > REUSE_MS) {
      measuredAt = performance.now()
      measured = measure()
    }
    return await measured!.catch(() => undefined)
  }
}
