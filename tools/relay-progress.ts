import { Timestamp, type Db } from 'mongodb'
import { isLostHistory, openChangeStream, type StreamPosition } from '../src/mongo/change-stream.ts'
import { deadline } from '../src/runtime/deadline.ts'
import { createHeldOrders, type HeldDocument, type HeldReason } from '../src/relay/publishing/held-orders.ts'
import { leaseName, originName, RELAY_COLLECTION, type LeaseDocument, type OriginDocument } from '../src/mongo/lease.ts'
import { writtenByUs } from '../src/models.ts'
import { positionOf } from '../src/relay/publishing/order-stream.ts'
import type { Checkpoint } from '../src/relay/checkpoint/checkpoint.ts'
import { CannotRun } from './cannot-run.ts'

/*
 * Which orders the relay has yet to come to. Neither an order's id nor its createdAt shows it: clocks differ, an insert
 * may take seconds, and restoring a backup inserts old ids today. The relay goes by the oplog, so this does too: it
 * follows the same change stream from the relay's position to the present. An order in it is the relay's to send; one
 * that is stored and not in it lies after the relay, which never goes back.
 */

const ANSWER_MS_MAX = 10_000
const AWAIT_MS = 1_000
const BATCH_ORDERS = 10_000

export interface RelayProgress {
  /** Where the relay's next event comes from. It may be further by now, never less far. */
  position: StreamPosition
  /** Orders from before it were never for this topic; undefined when no service has used this topic yet. */
  origin: Timestamp | undefined
  reached: Checkpoint | undefined
  /** The name of these orders, undefined like the origin. */
  source: string | undefined
  /** Orders whose events are held back. */
  held: Record<HeldReason, Set<string>>
}

/**
 * What the relay has left in MongoDB: a copy of its checkpoint that is a few seconds old at most, and written after it
 * was committed.
 */
export async function relayProgress (db: Db, topic: string): Promise<RelayProgress> {
  const { operationTime } = await db.command({ ping: 1 }, deadline(ANSWER_MS_MAX))
  const copy = (
    await db
      .collection<LeaseDocument>(RELAY_COLLECTION)
      .findOne({ _id: leaseName(topic) }, { readConcern: 'majority', ...deadline(ANSWER_MS_MAX) })
  )?.position as Checkpoint | undefined
  const { operationTime: origin, source } = await db.collection<OriginDocument>(RELAY_COLLECTION)
    .findOne({ _id: originName(topic) }, { readConcern: 'majority', ...deadline(ANSWER_MS_MAX) }) ?? {}
  // Who has never seen this topic will start no earlier than now.
  return await progressOf({ db, topic, reached: copy, origin, source, beginning: origin ?? operationTime })
}

/** @throws CannotRun while the relay itself compares the orders with the topic */
export async function progressOf ({
  db,
  topic,
  reached,
  origin,
  source,
  beginning
}: Pick<RelayProgress, 'reached' | 'origin' | 'source'> & {
  db: Db
  topic: string
  beginning: Timestamp
}): Promise<RelayProgress> {
  if (reached?.reconciling !== undefined) {
    throw new CannotRun('the relay is just comparing the orders with the topic: wait until it has ended')
  }
  const { oversized, unknowable } = await createHeldOrders({
    collection: db.collection<HeldDocument>(RELAY_COLLECTION),
    topic
  }).read()
  const held = { oversized: new Set(oversized), unknowable: new Set(unknowable) }
  return {
    position: reached === undefined ? { startAtOperationTime: beginning } : positionOf(reached),
    origin,
    source,
    reached,
    held
  }
}

/** Hands over the id of each order between `position` and the present: all that was inserted before this call. */
export async function ordersAhead (
  db: Db,
  collection: string,
  position: StreamPosition,
  onOrder: (id: string) => void
): Promise<void> {
  const present = await majorityTime(db)
  const stream = await openChangeStream({
    db,
    collection,
    pipeline: [
      { $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } },
      { $project: { clusterTime: 1, documentKey: 1 } }
    ],
    position,
    batchSize: BATCH_ORDERS
  }).catch((error) => {
    if (!isLostHistory(error)) throw error
    throw new CannotRun(
      "the oplog no longer reaches back to the relay's position, so what is missing can't be told apart from what the relay has yet to send",
      { cause: error }
    )
  })
  try {
    // Nothing comes only once the server has come to the end of what the majority had when it was asked.
    for (let more = true; more;) {
      const { events, reached } = await stream.next(AWAIT_MS)
      for (const { documentKey } of events) onOrder(String(documentKey._id))
      more = events.length > 0 && !(reached !== undefined && present.lessThan(new Timestamp(reached)))
    }
  } finally {
    await stream.close()
  }
}

/**
 * @returns the cluster's time, once the majority has all that the primary had then: change streams show nothing else
 */
async function majorityTime (db: Db): Promise<Timestamp> {
  const { operationTime } = await db.command({ ping: 1 }, deadline(ANSWER_MS_MAX))
  await db.command(
    { find: RELAY_COLLECTION, limit: 1, readConcern: { level: 'majority', afterClusterTime: operationTime } },
    deadline(ANSWER_MS_MAX)
  )
  return operationTime
}
