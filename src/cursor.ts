import { Long, type ClientSessionOptions, type Db, type Document, type Timestamp } from 'mongodb'
import { within } from './deadline.ts'
import { toLong } from './models.ts'

export interface CursorBatch<D extends Document = Document> {
  documents: D[]
  /** Of a change stream: where the batch after this one starts. */
  postBatchResumeToken: Document | undefined
  /** The cluster's time at which the server answered. */
  operationTime: Timestamp | undefined
}

const RAW_FIELDS = { firstBatch: true, nextBatch: true }

/**
 * A cursor read command by command, for what the driver's own cursors hide: where a batch ends, and the token that follows it.
 * @param raw documents as they came, in BSON
 * @param answerMsMax ms in which the server must answer, beyond the time that it is allowed to wait for documents
 */
export function createCursor<D extends Document = Document> ({ db, collection, raw = false, answerMsMax, session: options }: {
  db: Db, collection: string, raw?: boolean, answerMsMax: number, session?: ClientSessionOptions
}) {
  // It can be read only in the session that opened it, and by default each command gets one of its own.
  const session = db.client.startSession(options)
  let id = Long.ZERO

  async function command (body: Document, waitMs: number): Promise<CursorBatch<D>> {
    const { cursor, operationTime } = await within(answerMsMax + waitMs, 'MongoDB\'s answer', db.command(body, raw ? { session, fieldsAsRaw: RAW_FIELDS } : { session }))
    id = toLong(cursor.id)
    return { documents: cursor.firstBatch ?? cursor.nextBatch, postBatchResumeToken: cursor.postBatchResumeToken, operationTime }
  }

  return {
    /** @param body a `find` or an `aggregate` */
    open: (body: Document): Promise<CursorBatch<D>> => command(body, 0),

    /** @param awaitMs how long a tailing cursor may wait for a first document */
    more: (batchSize: number, awaitMs?: number): Promise<CursorBatch<D>> =>
      command({ getMore: id, collection, batchSize, ...(awaitMs === undefined ? {} : { maxTimeMS: awaitMs }) }, awaitMs ?? 0),

    /** Nothing follows. */
    get ended (): boolean { return id.isZero() },

    async close (): Promise<void> {
      if (!id.isZero()) await within(answerMsMax, 'MongoDB\'s answer', db.command({ killCursors: collection, cursors: [id] }, { session })).catch(() => {})
      await session.endSession().catch(() => {})
    }
  }
}
