import { Timestamp, type Db } from 'mongodb'
import { openChangeStream, type ChangeStreamReader, type StreamPosition } from './change-stream.ts'
import { writtenByUs } from './models.ts'
import type { Checkpoint } from './relay-topics.ts'

/** Where the stream goes on behind a checkpoint. */
export function positionOf ({ token, operationTime }: Pick<Checkpoint, 'token' | 'operationTime'>): StreamPosition {
  return operationTime === undefined ? { startAfter: token! } : { startAtOperationTime: new Timestamp(operationTime) }
}

/** The orders that are inserted behind a checkpoint, each as `fullDocument` of a raw event. */
export async function openOrderStream (db: Db, collection: string, checkpoint: Checkpoint, batchSize: number): Promise<ChangeStreamReader<Buffer>> {
  return await openChangeStream({
    db,
    collection,
    pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } }, { $project: { fullDocument: 1 } }],
    position: positionOf(checkpoint),
    batchSize,
    raw: true
  })
}
