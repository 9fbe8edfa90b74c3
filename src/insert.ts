import { MongoError, MongoServerError, MongoServerSelectionError, MongoWriteConcernError, type Collection, type Db } from 'mongodb'
import { setTimeout as delay } from 'node:timers/promises'
import { deadline } from './deadline.ts'
import { NotStored, OutcomeUnknown } from './errors.ts'
import type { Logger } from './log.ts'
import type { OrderDocument } from './models.ts'

/*
 * Stores a batch with one `insert` and finds out the truth about each order of it, whatever goes wrong on the way:
 *
 * | what comes back                 | each order                | then                                            |
 * |---------------------------------|---------------------------|-------------------------------------------------|
 * | ok                              | stored                    | 201                                             |
 * | writeErrors[i], duplicate `_id` | i came with an earlier try| looked up by `_id`, so that it is durable too   |
 * | writeErrors[i], duplicate key   | another order has i's     | IdempotencyKeyTaken for i, which its caller     |
 * |                                 | Idempotency-Key           | settles with the order that has it              |
 * | writeErrors[i], another code    | i is refused              | 500 for i, its neighbours are untouched         |
 * | full disk                       | not stored                | 503 at once: only an operator can help          |
 * | writeConcernError               | written, maybe not durable| looked up                                       |
 * | lost connection, time-out, …    | unknown                   | looked up; what is absent is inserted again     |
 *
 * The ids are ours, so that inserting the same documents again is idempotent. That is also why the command is sent as it is:
 * the driver's own retry would only multiply with this one, and its bulk API wraps a network error in a result without
 * `writeErrors`, which looks like success (src/bulk/common.ts of node-mongodb-native).
 */

const DUPLICATE_KEY = 11000
const OUT_OF_DISK_SPACE = 14031
/** What passes with time or with another primary: the driver's retryable codes, time-outs and write-concern failures. */
const PASSING_CODES = new Set([6, 7, 43, 50, 63, 64, 79, 89, 91, 100, 112, 134, 150, 189, 234, 262, 290, 317, 9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436])
/** Long enough not to hammer a server that is electing, short against the deadline. */
const RETRY_DELAY_MS = 100
/**
 * A server that has not answered by then may have a successor, to which only a new try goes: without this a batch would wait for a
 * hung primary until its deadline, and all that comes after it for a free slot.
 */
const ATTEMPT_MS_MAX = 2_500
const MAJORITY = { w: 'majority', j: true } as const

/** Another order, or an earlier try of this one, has the Idempotency-Key. */
export class IdempotencyKeyTaken extends Error {}

type Outcome = 'absent' | 'unknown' | 'stored' | { refused: unknown }

export function createInsert ({ db, collection, deadlineMs, log }: { db: Db, collection: Collection<OrderDocument>, deadlineMs: number, log: Logger }) {
  /** @returns one result for each document, in their order; never rejects. Takes at most `deadlineMs` from `since` (performance.now()). */
  return async function insert (documents: OrderDocument[], since: number): Promise<PromiseSettledResult<void>[]> {
    const until = since + deadlineMs
    const outcomes: Outcome[] = documents.map(() => 'absent')
    const open = (): number[] => outcomes.flatMap((outcome, index) => outcome === 'absent' || outcome === 'unknown' ? [index] : [])

    for (let left = deadlineMs, again = false; left > 0; left = until - performance.now(), again = true) {
      if (again) {
        await delay(Math.min(RETRY_DELAY_MS, left))
        await lookUp(documents, outcomes, until)
      }
      const absent = open()
      if (absent.length === 0) break
      const tried = await tryInsert(absent.map((index) => documents[index]!), until)
      absent.forEach((index, position) => { outcomes[index] = after(outcomes[index]!, tried[position]!) })
      if (open().length === 0) break
    }
    return outcomes.map(settled)
  }

  async function tryInsert (documents: OrderDocument[], until: number): Promise<Outcome[]> {
    let reply
    try {
      reply = await db.command(
        { insert: collection.collectionName, documents, ordered: false, writeConcern: MAJORITY },
        attemptDeadline(until))
    } catch (error) {
      log.warn({ reason: (error as Error).message, orders: documents.length }, 'MongoDB did not confirm a batch of orders')
      if (!(error instanceof MongoWriteConcernError)) return documents.map(() => outcomeOf(error))
      reply = error.result
    }
    const written: Outcome = reply.writeConcernError === undefined ? 'stored' : 'unknown'
    const outcomes: Outcome[] = documents.map(() => written)
    for (const { index, code, errmsg, keyPattern } of reply.writeErrors ?? []) {
      if (code === DUPLICATE_KEY && keyPattern?._id === undefined) outcomes[index] = { refused: new IdempotencyKeyTaken() }
      else if (code === OUT_OF_DISK_SPACE) outcomes[index] = { refused: new NotStored() }
      else outcomes[index] = code === DUPLICATE_KEY || PASSING_CODES.has(code) ? 'unknown' : { refused: new Error(`MongoDB refused the order: ${errmsg} (${code})`) }
    }
    return outcomes
  }

  /** What a majority holds is stored. A look-up that fails leaves things as they are: the next round tries again. */
  async function lookUp (documents: OrderDocument[], outcomes: Outcome[], until: number): Promise<void> {
    const unknown = outcomes.flatMap((outcome, index) => outcome === 'unknown' ? [index] : [])
    if (unknown.length === 0) return
    try {
      const found = await collection.find(
        { _id: { $in: unknown.map((index) => documents[index]!._id) } },
        { projection: { _id: 1 }, readConcern: 'majority', readPreference: 'primary', ...attemptDeadline(until) }).toArray()
      const ids = new Set(found.map(({ _id }) => _id.toHexString()))
      for (const index of unknown) if (ids.has(documents[index]!._id.toHexString())) outcomes[index] = 'stored'
    } catch (error) {
      if (!passes(error)) throw error
    }
  }
}

function attemptDeadline (until: number): ReturnType<typeof deadline> {
  return deadline(Math.min(ATTEMPT_MS_MAX, until - performance.now()))
}

/** An earlier try whose end nobody knows may still arrive: a later try that did nothing does not make it undone. */
function after (earlier: Outcome, later: Outcome): Outcome {
  if (earlier !== 'unknown') return later
  if (typeof later === 'object' && later.refused instanceof NotStored) return { refused: new OutcomeUnknown() }
  return later === 'absent' ? 'unknown' : later
}

function outcomeOf (error: unknown): Outcome {
  if (error instanceof MongoServerSelectionError) return 'absent'
  if (error instanceof MongoServerError && error.code === OUT_OF_DISK_SPACE) return { refused: new NotStored() }
  if (error instanceof MongoServerError && !PASSING_CODES.has(Number(error.code)) && !error.hasErrorLabel('RetryableWriteError')) return { refused: error }
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
