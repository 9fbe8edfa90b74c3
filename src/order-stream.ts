import { Timestamp, type Db } from 'mongodb'
import { openChangeStream, type ChangeStreamReader, type StreamPosition } from './change-stream.ts'
import { writtenByUs } from './models.ts'
import type { Checkpoint } from './relay-topics.ts'

/** Where the stream goes on behind a checkpoint. */
export function positionOf ({ token, operationTime }: Pick<Checkpoint, 'token' | 'operationTime'>): StreamPosition {
  return token === undefined ? { startAtOperationTime: new Timestamp(operationTime!) } : { startAfter: token }
}

/** The orders that are inserted after a checkpoint, each as `fullDocument` of a raw event. */
export async function openOrderStream (db: Db, collection: string, checkpoint: Checkpoint, batchSize: number): Promise<ChangeStreamReader<Buffer>> {
  return await openChangeStream({
    db,
    collection,
    pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } }, { $project: { clusterTime: 1, fullDocument: 1 } }],
    position: positionOf(checkpoint),
    batchSize,
    raw: true
  })
}
