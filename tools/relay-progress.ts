import type { Db, Document, Timestamp } from 'mongodb'
import { HISTORY_LOST, openChangeStream, type StreamPosition } from '../src/change-stream.ts'
import { deadline } from '../src/deadline.ts'
import { endOf } from '../src/handover.ts'
import { layoutOr, type Layout } from '../src/layout.ts'
import { leaseName, originName, positions, RELAY_COLLECTION, type LeaseDocument, type OriginDocument } from '../src/lease.ts'
import { writtenByUs } from '../src/models.ts'
import { positionOf } from '../src/order-stream.ts'
import type { Checkpoint } from '../src/relay-topics.ts'
import { shardsOf } from '../src/shards.ts'
import { CannotRun } from './cannot-run.ts'

/*
 * Which orders the relay has yet to come to. Neither an order's id nor its createdAt tells: clocks differ, an insert may take
 * seconds, and whoever restores a backup inserts old ids today. The relay goes by the oplog, so this does too: it follows the
 * same change stream from the relay's position to the present. An order in it is the relay's to send; one that is stored and not
 * in it lies behind the relay, which never goes back.
 */

const ANSWER_MS_MAX = 10_000
const AWAIT_MS = 1_000
/** The token of an idle change stream moves on at least every 10 s, with the server's no-ops. */
const IDLE_MS_MAX = 60_000
const BATCH_ORDERS = 10_000

export interface RelayProgress {
  /** Where the relay's next event comes from. It may be further by now, never less far. */
  position: StreamPosition
  /** Orders from before it were never for this topic; undefined when no service has used this topic yet. */
  origin: Timestamp | undefined
  reached: Checkpoint | undefined
  /** Among how many relays the orders are divided. */
  shards: number
  /** Records of orders from before this time, in ms since 1970, may lie where another number of shards put them. */
  movedAt: number
}

/** What the relay has left in MongoDB: a copy of its checkpoint that is a few seconds old at most, and written after it was committed. */
export async function relayProgress (db: Db, topic: string): Promise<RelayProgress> {
  const { operationTime } = await db.command({ ping: 1 }, deadline(ANSWER_MS_MAX))
  const layout = await layoutOr(undefined, db.collection(RELAY_COLLECTION), topic)
  const copies = await positions(db.collection<LeaseDocument>(RELAY_COLLECTION), shardsOf(layout.shards).map((shard) => leaseName(topic, shard))) as (Checkpoint | undefined)[]
  const origin = (await db.collection<OriginDocument>(RELAY_COLLECTION).findOne({ _id: originName(topic) }, { readConcern: 'majority', ...deadline(ANSWER_MS_MAX) }))?.operationTime
  // Who has never seen this topic will start no earlier than now.
  return progressOf(copies, layout, origin, origin ?? operationTime)
}

/**
 * Where the shard is that is least far: what another one has told beyond it only counts as what is yet to be told.
 * @throws CannotRun while the relay itself compares the orders with the topic
 */
export function progressOf (checkpoints: (Checkpoint | undefined)[], { shards, first }: Layout, origin: Timestamp | undefined, beginning: Timestamp): RelayProgress {
  if (checkpoints.some((checkpoint) => checkpoint?.reconciling !== undefined)) throw new CannotRun('the relay is just comparing the orders with the topic: wait until it has ended')
  const [reached] = checkpoints.sort((one, other) => one === undefined ? -1 : other === undefined ? 1 : endOf(one) < endOf(other) ? -1 : 1)
  const movedAt = first === true ? 0 : Math.max(...checkpoints.map((checkpoint) => checkpoint?.topic?.movedAt ?? checkpoint?.topic?.since ?? Infinity))
  return { position: reached === undefined ? { startAtOperationTime: beginning } : positionOf(reached), origin, reached, shards, movedAt }
}

/** Hands over the id of each order between `position` and the present: all that was inserted before this call. */
export async function ordersAhead (db: Db, collection: string, position: StreamPosition, onOrder: (id: string) => void): Promise<void> {
  const { operationTime } = await db.command({ ping: 1 }, deadline(ANSWER_MS_MAX))
  const present = (BigInt(operationTime.t) << 32n) | BigInt(operationTime.i)
  const stream = await openChangeStream({
    db,
    collection,
    pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } }, { $project: { documentKey: 1 } }],
    position,
    batchSize: BATCH_ORDERS
  }).catch((error) => {
    if (error.code !== HISTORY_LOST) throw error
    throw new CannotRun('the oplog no longer reaches back to the relay\'s position, so what is missing can\'t be told from what the relay has yet to send', { cause: error })
  })
  try {
    let reachedAt = performance.now()
    for (let reached = -1n, events = 1; reached < present || (reached === present && events > 0);) {
      const batch = await stream.next(AWAIT_MS)
      for (const { documentKey } of batch.events) onOrder(String(documentKey._id))
      events = batch.events.length
      const now = timeOf(batch.token)
      if (now > reached) reachedAt = performance.now()
      else if (performance.now() - reachedAt > IDLE_MS_MAX) throw new CannotRun(`MongoDB's change stream did not reach the present: it stood still for ${IDLE_MS_MAX / 1000} s`)
      reached = now
    }
  } finally {
    await stream.close()
  }
}

/** A resume token is a key string that begins with the type of a timestamp (0x82) and its eight bytes (MongoDB's resume_token.h). */
function timeOf (token: Document): bigint {
  const hex = /^82([0-9A-F]{16})/i.exec(token._data)?.[1]
  if (hex === undefined) throw new CannotRun('MongoDB\'s resume tokens have a form that is not known here')
  return BigInt(`0x${hex}`)
}
