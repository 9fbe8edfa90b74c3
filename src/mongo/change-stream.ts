import { MongoServerError, type Db, type Document, type Timestamp } from 'mongodb'
import { clusterTimeOf, type ClusterTime } from './change-event.ts'
import { createCursor, type CursorBatch } from './cursor.ts'

/*
 * A change stream read batch by batch. The driver's own ChangeStream hands over one event a promise and hides both
 * where a batch ends and the token that follows it; here a batch and its post-batch resume token come together, also
 * when the batch is empty (a quiet collection's token would age out of the oplog otherwise, SERVER-35740). Nothing is
 * resumed here: the reader opens a new one at the last token it has made use of.
 */

/**
 * The server answers within the awaited time, unless it has much of the oplog to look through: then it is asked whether
 * it still does.
 */
const ANSWER_MS_MAX = 10_000

export type ResumeToken = Document
export type StreamPosition = { startAfter: ResumeToken } | { startAtOperationTime: Timestamp }

export interface ChangeBatch<E extends Document = Document> {
  events: E[]
  /** Where the next batch starts: save it once the events are dealt with. */
  token: ResumeToken
  /** The cluster's time at which the server answered. */
  operationTime: Timestamp | undefined
  /**
   * Whatever was changed before this time of the cluster has been read: the last event's, or, where nothing came, the
   * time of the answer before, as the server had come to the end of the oplog. (Tokens are opaque, so they are not
   * asked.) Undefined while nothing is known.
   */
  reached: ClusterTime | undefined
}

const HISTORY_LOST = 286
/**
 * MongoDB does not find the event of the token: it was put back to an earlier state, or its data was put into a new
 * replica set.
 */
const TOKEN_NOT_FOUND = 280

/** Whether the oplog does not hold what a stream would have to go on with, so that trying again would not help. */
export function isLostHistory (error: unknown): error is MongoServerError {
  return (
    error instanceof MongoServerError &&
    (error.code === HISTORY_LOST ||
      error.code === TOKEN_NOT_FOUND ||
      error.hasErrorLabel('NonResumableChangeStreamError'))
  )
}

export interface ChangeStreamReader<E extends Document = Document> {
  /**
   * Resolves as soon as there are events, or with none after `awaitMs`. Rejects with the server's or the driver's
   * error.
   */
  next: (awaitMs: number, batchSize?: number) => Promise<ChangeBatch<E>>
  close: () => Promise<void>
}

/**
 * @param pipeline must project `clusterTime`
 * @param raw events as they came, in BSON
 * @param onDrop called when the collection was dropped or renamed, before `at`: what is read then is of the new one of
 * its name
 */
export async function openChangeStream<E extends Document = Document> ({
  db,
  collection,
  pipeline,
  position,
  batchSize,
  raw,
  onDrop
}: {
  db: Db
  collection: string
  pipeline: Document[]
  position: StreamPosition
  batchSize: number
  raw?: boolean
  onDrop?: (at: ClusterTime) => void
}): Promise<ChangeStreamReader<E>> {
  const cursor = createCursor<E>({ db, collection, raw, answerMsMax: ANSWER_MS_MAX, patient: true })
  let first: ChangeBatch<E> | undefined
  let token: ResumeToken
  let answeredAt: ClusterTime | undefined

  try {
    first = await open(position)
  } catch (error) {
    await cursor.close()
    throw error
  }

  async function open (at: StreamPosition): Promise<ChangeBatch<E>> {
    return batchOf(
      await cursor.open({
        aggregate: collection,
        pipeline: [{ $changeStream: { ...at } }, ...pipeline],
        cursor: { batchSize }
      })
    )
  }

  function batchOf ({ documents, postBatchResumeToken, operationTime }: CursorBatch<E>): ChangeBatch<E> {
    token = postBatchResumeToken!
    const last = documents.at(-1)
    const reached = last === undefined ? answeredAt : clusterTimeOf(last)
    answeredAt = operationTime && { t: operationTime.t, i: operationTime.i }
    return { events: documents, token, operationTime, reached }
  }

  async function read (awaitMs: number, size: number): Promise<ChangeBatch<E>> {
    if (first !== undefined && first.events.length > 0) {
      const batch = first
      first = undefined
      return batch
    }
    first = undefined
    if (!cursor.ended) return batchOf(await cursor.more(size, awaitMs))
    // MongoDB ends the stream of a collection that is dropped or renamed. Its last token stands for that, and
    // `startAfter` goes on after it; retrying with the same token would hit the same end until the oplog drops it.
    onDrop?.(answeredAt ?? { t: Math.floor(Date.now() / 1000), i: 0 })
    return await open({ startAfter: token })
  }

  return {
    next (awaitMs, size = batchSize) {
      const batch = read(awaitMs, size)
      batch.catch(() => {}) // prefetched: the error surfaces when the batch is awaited
      return batch
    },
    close: cursor.close
  }
}
