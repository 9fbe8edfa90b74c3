import {
  Long,
  MongoNetworkError,
  MongoServerError,
  type ClientSessionOptions,
  type Db,
  type Document,
  type Timestamp
} from 'mongodb'
import { randomUUID } from 'node:crypto'
import { whileAtWork } from './at-work.ts'
import { deadline, within } from '../runtime/deadline.ts'

export interface CursorBatch<D extends Document = Document> {
  documents: D[]
  /** Of a change stream: where the batch after this one starts. */
  postBatchResumeToken: Document | undefined
  /** The cluster's time at which the server answered. */
  operationTime: Timestamp | undefined
}

const RAW_FIELDS = { firstBatch: true, nextBatch: true }

/**
 * A cursor read command by command, for what the driver's own cursors hide: where a batch ends, and the token that
 * follows it.
 * @param raw documents as they came, in BSON
 * @param answerMsMax ms in which the server must answer, beyond the time that it is allowed to wait for documents
 * @param patient waits on as long as the server is at work on it
 * @param signal calls off what is at work and closes its connection
 */
export function createCursor<D extends Document = Document> ({
  db,
  collection,
  raw = false,
  answerMsMax,
  patient = false,
  signal,
  session: options
}: {
  db: Db
  collection: string
  raw?: boolean
  answerMsMax: number
  patient?: boolean
  signal?: AbortSignal
  session?: ClientSessionOptions
}) {
  // It can be read only in the session that opened it, and by default each command gets one of its own.
  const session = db.client.startSession(options)
  // A connection without a time-out of its own would be kept for ever by a command that nobody waits for any more.
  const givenUp = new AbortController()
  const patience = patient ? { socketTimeoutMS: 0, signal: givenUp.signal } : { signal }
  const commandOptions = { session, ...(raw ? { fieldsAsRaw: RAW_FIELDS } : {}), ...patience }
  const comment = patient ? `order-service ${randomUUID()}` : undefined
  let id = Long.ZERO

  async function command (body: Document, waitMs: number): Promise<CursorBatch<D>> {
    const msMax = answerMsMax + waitMs
    const { cursor, operationTime } =
      comment !== undefined
        ? await whileAtWork({
          db,
          comment,
          msMax,
          command: db.command({ ...body, comment }, commandOptions),
          giveUp: () => givenUp.abort()
        })
        : await within(msMax, "MongoDB's answer", db.command(body, commandOptions))
    id = toLong(cursor.id)
    return {
      documents: cursor.firstBatch ?? cursor.nextBatch,
      postBatchResumeToken: cursor.postBatchResumeToken,
      operationTime
    }
  }

  return {
    /** @param body a `find` or an `aggregate` */
    open: (body: Document): Promise<CursorBatch<D>> => command(body, 0),

    /** @param awaitMs how long a tailing cursor may wait for a first document */
    more: (batchSize: number, awaitMs?: number): Promise<CursorBatch<D>> =>
      command(
        { getMore: id, collection, batchSize, ...(awaitMs === undefined ? {} : { maxTimeMS: awaitMs }) },
        awaitMs ?? 0
      ),

    /** Nothing follows. */
    get ended (): boolean {
      return id.isZero()
    },

    async close (): Promise<void> {
      if (!id.isZero()) {
        await within(
          answerMsMax,
          "MongoDB's answer",
          db.command({ killCursors: collection, cursors: [id] }, { session })
        ).catch(() => {})
      }
      await session.endSession().catch(() => {})
    }
  }
}

/**
 * The documents that pass a filter, in BSON. The driver's `find` makes objects of a raw document's fields before it
 * hands out its bytes, and for a batch that is full asks once more whether anything follows.
 * @param find further fields of the command
 * @param count of documents that can pass
 * @param msMax ms until it is called off
 */
export async function findRaw ({
  db,
  collection,
  find,
  count,
  msMax
}: {
  db: Db
  collection: string
  find: Document
  count: number
  msMax: number
}): Promise<Buffer[]> {
  const cursor = createCursor({ db, collection, raw: true, answerMsMax: msMax, ...deadline(msMax) })
  try {
    const { documents } = await tryTwice(() =>
      cursor.open({ find: collection, ...find, limit: count, batchSize: count })
    )
    while (!cursor.ended) documents.push(...(await cursor.more(count)).documents) // an answer holds 16 MB at most
    return documents as unknown as Buffer[]
  } finally {
    cursor.close() // nobody waits for it
  }
}

/**
 * A primary that steps down or a connection that breaks says nothing of the next. A read is tried again once, as by the
 * driver.
 */
export async function tryTwice<T> (read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof MongoNetworkError || error instanceof MongoServerError) return await read()
    throw error
  }
}

/** The numbers in a BSON int64 whatever the driver made of it. */
function toLong (value: number | bigint | Long): Long {
  return Long.isLong(value) ? value : Long.fromString(value.toString())
}
