import { MongoServerError, type Db, type ObjectId, type Timestamp } from 'mongodb'
import { createCursor, type CursorBatch } from '../../mongo/cursor.ts'
import type { IdSet } from './id-set.ts'
import { writtenByUs } from '../../models.ts'

const BATCH_IDS = 10_000
/** Orders that an older service left may have to be passed over between two of ours. */
const ANSWER_MS_MAX = 60_000
const SNAPSHOT_TOO_OLD = [239, 246]

/**
 * Adds the ids of our orders to `set`, ascending, until it is full or there are no more.
 * @param range all ids greater than `after` and, where it is given, less than `before`
 * @param at reads what there was at just that time of the cluster, which MongoDB can for five minutes; else what is
 * durable now
 */
export async function readOrderIds ({
  db,
  collection,
  range: { after, before },
  at,
  set,
  signal
}: {
  db: Db
  collection: string
  range: { after: ObjectId, before?: ObjectId | undefined }
  at?: Timestamp | undefined
  set: IdSet
  signal: AbortSignal
}): Promise<void> {
  // With causal consistency the driver would add a second time to read at.
  const cursor = createCursor({ db, collection, answerMsMax: ANSWER_MS_MAX, session: { causalConsistency: false } })
  const add = ({ documents }: CursorBatch): void => {
    for (const { _id } of documents) if (!set.full) set.add(_id)
  }
  try {
    add(
      await cursor.open({
        find: collection,
        filter: { _id: { $gt: after, ...(before === undefined ? {} : { $lt: before }) }, ...writtenByUs() },
        projection: { _id: 1 },
        sort: { _id: 1 },
        batchSize: BATCH_IDS,
        readConcern: at === undefined ? { level: 'majority' } : { level: 'snapshot', atClusterTime: at }
      })
    )
    while (!cursor.ended && !set.full && !signal.aborted) add(await cursor.more(BATCH_IDS))
  } catch (error) {
    if (error instanceof MongoServerError && SNAPSHOT_TOO_OLD.includes(Number(error.code))) {
      throw new Error(
        'the comparison took longer than MongoDB keeps a snapshot (minSnapshotHistoryWindowInSeconds); it starts over, and finds what it has sent by now',
        { cause: error }
      )
    }
    throw error
  } finally {
    await cursor.close()
  }
}
