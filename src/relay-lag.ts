import { ObjectId, type Collection } from 'mongodb'
import { deadline } from './deadline.ts'
import { writtenByUs, type OrderDocument } from './models.ts'

/** Beyond it the exact number says no more than that it is large, and counting would cost. */
const COUNT_MAX = 100_000
const MEASURE_MS_MAX = 2_000
/** Two metrics ask at the same scrape. */
const REUSE_MS = 1_000

export interface RelayLag { events: number, seconds: number }

/**
 * How far the relay is behind, as MongoDB shows it, so that it can be told while Kafka is down or nobody leads: the orders newer
 * than the newest published one. Ids grow with time, so this is exact but for orders of one second in several replicas.
 * `events` is at most 100,000.
 */
export function createRelayLag ({ collection, newestPublished }: {
  collection: Collection<OrderDocument>
  /** The id of the newest published order. */
  newestPublished: () => Promise<string | undefined>
}) {
  let measured: Promise<RelayLag> | undefined
  let measuredAt = -Infinity

  async function measure (): Promise<RelayLag> {
    const published = await newestPublished()
    const behind = { _id: { $gt: new ObjectId(published ?? '0'.repeat(24)) }, ...writtenByUs() }
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
