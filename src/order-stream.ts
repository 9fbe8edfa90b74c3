import { Timestamp, type Db } from 'mongodb'
import { openChangeStream, type ChangeStreamReader } from './change-stream.ts'
import { writtenByUs } from './models.ts'
import type { Checkpoint } from './relay-topics.ts'

/** The orders that are inserted behind a checkpoint. */
export async function openOrderStream (db: Db, collection: string, { token, operationTime }: Checkpoint, batchSize: number): Promise<ChangeStreamReader> {
  return await openChangeStream({
    db,
    collection,
    pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } }, { $project: { fullDocument: 1 } }],
    position: operationTime === undefined ? { startAfter: token! } : { startAtOperationTime: new Timestamp(operationTime) },
    batchSize
  })
}
