import { MongoError, MongoServerError, MongoWriteConcernError, type Collection, type Db } from 'mongodb'
import { setTimeout as delay } from 'node:timers/promises'
import { deadline } from '../runtime/deadline.ts'
import { NotStored, OutcomeUnknown } from '../errors.ts'
import type { Logger } from '../runtime/logger.ts'
import { IDEMPOTENCY_INDEX, type OrderDocument } from '../models.ts'
import { reasonOf } from '../mongo/reasons.ts'

/*
 * Stores a batch with one `insert` and finds out the truth about each order of it, whatever goes wrong on the way:
 *
 * | what comes back                 | each order                | then                                            |
 * |---------------------------------|---------------------------|-------------------------------------------------|
 * | ok                              | stored                    | 201                                             |
 * | writeErrors[i], duplicate `_id` | i came with an earlier try| looked up by `_id`, so that it is durable too   |
 * | writeErrors[i], our index of    | another order has i's     | IdempotencyKeyTaken for i, which its caller     |
 * | Idempotency-Keys                | Idempotency-Key           | settles with the order that has it              |
 * | writeErrors[i], anything else   | i is refused              | 500 for i, its neighbours are untouched         |
 * | full disk, no right to insert   | not stored                | 503 at once: only an operator can help          |
 * | writeConcernError               | written, maybe not durable| looked up                                       |
 * | it was never sent               | not stored                | inserted again                                  |
 * | lost connection, time-out, …    | unknown                   | looked up; what is absent is inserted again     |
 *
 * The ids are ours, so that inserting the same documents again is idempotent. That is also why the command is sent as
 * it is: the driver's own retry would only multiply with this one, and its bulk API wraps a network error in a result
 * without `writeErrors`, which looks like success (src/bulk/common.ts of node-mongodb-native).
 */

const DUPLICATE_KEY = 11000
/** Full disk; no right to insert; no login. */
const OPERATORS_CODES = new Set([14031, 13, 18])
/**
 * What passes with time or with another primary: the driver's retryable codes, time-outs and write-concern failures.
 */
const PASSING_CODES = new Set([
  6, 7, 43, 50, 63, 64, 79, 89, 91, 100, 112, 134, 150, 189, 234, 262, 290, 317, 9001, 10058, 10107, 11600, 11601,
  11602, 13388, 13435, 13436
])
/** Long enough not to hammer a server that is electing, short against the deadline. */
const RETRY_DELAY_MS = 100
/**
 * A server that has not answered by then may have a successor, to which only a new try goes: without this a batch would
 * wait for a hung primary until its deadline, and all that comes after it for a free slot.
 */
const ATTEMPT_MS_MAX = 2_500
/**
 * An order with less time left isn't sent: its end would come too soon to be known, and with it that of the orders it
 * is sent with.
 */
const ATTEMPT_MS_MIN = 500
const MAJORITY = { w: 'majority', j: true } as const

/** Another order, or an earlier try of this one, has the Idempotency-Key. */
export class IdempotencyKeyTaken extends Error {}

type Outcome = 'absent' | 'unknown' | 'stored' | { refused: unknown }
interface Order { document: OrderDocument, until: number, outcome: Outcome }

export function createInsert ({
  db,
  collection,
  deadlineMs,
  log
}: {
  db: Db
  collection: Collection<OrderDocument>
  deadlineMs: number
  log: Logger
}) {
  /**
   * @param since when each was asked for (performance.now()); its result comes at most `deadlineMs` after it
   * @returns one result for each document, in their order; never rejects
   */
  return async function insert (documents: OrderDocument[], since: number[]): Promise<PromiseSettledResult<void>[]> {
    const orders: Order[] = documents.map((document, index) => ({
      document,
      until: since[index]! + deadlineMs,
      outcome: 'absent'
    }))
    for (let again = false; ; again = true) {
      if (again) {
        await delay(RETRY_DELAY_MS)
        await lookUp(orders.filter(({ outcome, until }) => outcome === 'unknown' && performance.now() < until))
      }
      const open = orders.filter((order) => isOpen(order) && performance.now() < order.until - ATTEMPT_MS_MIN)
      if (open.length > 0) {
        const tried = await tryInsert(open)
        open.forEach((order, index) => {
          order.outcome = after(order.outcome, tried[index]!)
        })
      }
      if (
        !orders.some(
          (order) =>
            isOpen(order) && performance.now() < order.until - (order.outcome === 'unknown' ? 0 : ATTEMPT_MS_MIN)
        )
      ) { break }
    }
    return orders.map(({ outcome }) => settled(outcome))
  }

  async function tryInsert (orders: Order[]): Promise<Outcome[]> {
    let reply
    let sent = false
    // Until a server and a connection are found nothing is sent; it is made BSON only then.
    const documents = {
      toBSON () {
        sent = true
        return orders.map(({ document }) => document)
      }
    }
    try {
      reply = await db.command(
        { insert: collection.collectionName, documents, ordered: false, writeConcern: MAJORITY },
        attemptDeadline(orders)
      )
    } catch (error) {
      log.warn({ reason: reasonOf(error), orders: orders.length }, 'MongoDB did not confirm a batch of orders')
      if (!(error instanceof MongoWriteConcernError)) {
        const outcome = !sent && passes(error) ? 'absent' : outcomeOf(error)
        return orders.map(() => outcome)
      }
      reply = error.result
    }
    const written: Outcome = reply.writeConcernError === undefined ? 'stored' : 'unknown'
    const outcomes: Outcome[] = orders.map(() => written)
    for (const error of (reply.writeErrors ?? []) as WriteError[]) outcomes[error.index] = outcomeOfWriteError(error)
    return outcomes
  }

  /** What a majority holds is stored. A look-up that fails leaves things as they are: the next round tries again. */
  async function lookUp (orders: Order[]): Promise<void> {
    if (orders.length === 0) return
    try {
      const found = await collection
        .find(
          { _id: { $in: orders.map(({ document }) => document._id) } },
          {
            projection: { createdAt: 1 },
            readConcern: 'majority',
            readPreference: 'primary',
            ...attemptDeadline(orders)
          }
        )
        .toArray()
      const stored = new Map(found.map(({ _id, createdAt }) => [_id.toHexString(), createdAt]))
      for (const order of orders) {
        const createdAt = stored.get(order.document._id.toHexString())
        if (createdAt === undefined) continue
        // An id comes twice only where the clock is set back by hours: then it is another order's.
        order.outcome =
          createdAt.getTime() === order.document.createdAt.getTime() ? 'stored' : { refused: new NotStored() }
      }
    } catch (error) {
      if (!passes(error)) throw error
    }
  }
}

function isOpen ({ outcome }: Order): boolean {
  return outcome === 'absent' || outcome === 'unknown'
}

/**
 * The one that has the least time left doesn't lose the others theirs: what isn't known by then is looked up and tried
 * again.
 */
function attemptDeadline (orders: Order[]): ReturnType<typeof deadline> {
  return deadline(Math.min(ATTEMPT_MS_MAX, Math.min(...orders.map(({ until }) => until)) - performance.now()))
}

interface WriteError { index: number, code: number, errmsg?: string, keyPattern?: object }

const OUR_KEY = Object.keys(IDEMPOTENCY_INDEX.key).join()

/** The message holds the values of the key, so the log gets the index's name alone. */
function outcomeOfWriteError ({ code, errmsg, keyPattern }: WriteError): Outcome {
  if (OPERATORS_CODES.has(code)) return { refused: new NotStored() }
  if (code !== DUPLICATE_KEY) {
    return PASSING_CODES.has(code) ? 'unknown' : { refused: new Error(`MongoDB refused the order with code ${code}`) }
  }
  const index = /\bindex: (\S+)/.exec(errmsg ?? '')?.[1]
  const key = keyPattern === undefined ? undefined : Object.keys(keyPattern).join()
  if (key === '_id' || (key === undefined && index === '_id_')) return 'unknown'
  if (key === OUR_KEY || (key === undefined && index === IDEMPOTENCY_INDEX.options.name)) {
    return { refused: new IdempotencyKeyTaken() }
  }
  return {
    refused: new Error(
      `MongoDB refused the order: the unique index ${index ?? key} of the collection is not the service's own, and another document has the same values`
    )
  }
}

/**
 * An earlier attempt with an unknown outcome may still be applied; a later attempt that changed nothing does not rule
 * that out.
 */
function after (earlier: Outcome, later: Outcome): Outcome {
  if (earlier !== 'unknown') return later
  if (typeof later === 'object' && later.refused instanceof NotStored) return { refused: new OutcomeUnknown() }
  return later === 'absent' ? 'unknown' : later
}

function outcomeOf (error: unknown): Outcome {
  if (error instanceof MongoServerError && OPERATORS_CODES.has(Number(error.code))) return { refused: new NotStored() }
  if (
    error instanceof MongoServerError &&
    !PASSING_CODES.has(Number(error.code)) &&
    !error.hasErrorLabel('RetryableWriteError')
  ) {
    return { refused: new Error(`MongoDB refused the order: ${reasonOf(error)}`) }
  }
  return passes(error) ? 'unknown' : { refused: error }
}

/** The driver's errors, and our own deadline, which reaches us as the signal's reason. */
function passes (error: unknown): boolean {
  return error instanceof MongoError || (error as Error).name === 'TimeoutError'
}

function settled (outcome: Outcome): PromiseSettledResult<void> {
  if (outcome === 'stored') return { status: 'fulfilled', value: undefined }
  if (outcome === 'absent') return { status: 'rejected', reason: new NotStored() }
  if (outcome === 'unknown') return { status: 'rejected', reason: new OutcomeUnknown() }
  return { status: 'rejected', reason: outcome.refused }
}
