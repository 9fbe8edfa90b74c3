import { ObjectId, type Collection, type Db } from 'mongodb'
import type { ClusterTime } from '../mongo/change-event.ts'
import { leaseName, RELAY_COLLECTION, type LeaseDocument } from '../mongo/lease.ts'
import { deadline } from '../runtime/deadline.ts'
import { writtenByUs, type OrderDocument } from '../models.ts'
import type { Checkpoint } from './checkpoint/checkpoint.ts'
import type { Relay } from './relay.ts'
import { AHEAD_SECONDS_MAX, firstIdOf, INSERT_SECONDS_MAX } from '../encoding/order-id.ts'

/** Beyond it the exact number says no more than that it is large, and counting would cost. */
const COUNT_MAX = 100_000
/** All of it: a scrape is given up after some seconds. */
const MEASURE_MS_MAX = 1_500
/** Two metrics ask at the same scrape. */
const REUSE_MS = 1_000

export interface RelayLag { events: number, seconds: number }

interface Progress {
  /** The newest published order. */
  orderId?: string | undefined
  /** All that was inserted before this time of the cluster is published. */
  drained?: ClusterTime | undefined
}

/**
 * How far the relay is behind, as MongoDB shows it, so that it can be seen while Kafka is down or nobody leads: the
 * orders newer than what is known to be published. Ids grow with time, so this is exact but for orders of one second in
 * several replicas; those of a clock that is a minute ahead count once their time has come. `events` is at most
 * 100,000.
 */
export function createRelayLag ({
  db,
  collection,
  topic,
  relay
}: {
  db: Db
  collection: Collection<OrderDocument>
  topic: string
  relay: () => Pick<Relay, 'leads' | 'position' | 'drained'> | undefined
}) {
  let measured: Promise<RelayLag> | undefined
  let measuredAt = -Infinity

  async function progress (limit: { signal: AbortSignal }): Promise<Progress> {
    const own = relay()
    if (own?.leads) return { orderId: own.position?.orderId, drained: own.drained } // fresher than what the lease says
    const leased = await db.collection<LeaseDocument>(RELAY_COLLECTION).findOne({ _id: leaseName(topic) }, limit)
    return { orderId: (leased?.position as Checkpoint | undefined)?.orderId, drained: leased?.drained }
  }

  async function measure (): Promise<RelayLag> {
    const limit = deadline(MEASURE_MS_MAX)
    const { orderId = firstIdOf(0), drained } = await progress(limit)
    const surely = drained === undefined ? firstIdOf(0) : firstIdOf(drained.t - INSERT_SECONDS_MAX)
    const { operationTime } = await db.command({ ping: 1 }, limit)
    const now = firstIdOf(operationTime.t + AHEAD_SECONDS_MAX)
    const behind = {
      _id: { $gt: new ObjectId(orderId > surely ? orderId : surely), $lt: new ObjectId(now) },
      ...writtenByUs()
    }
    const [events, oldest] = await Promise.all([
      collection.countDocuments(behind, { limit: COUNT_MAX, ...limit }),
      collection.findOne(behind, { sort: { _id: 1 }, projection: { createdAt: 1 }, ...limit })
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
