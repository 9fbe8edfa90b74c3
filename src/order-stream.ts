import { Timestamp, type Db } from 'mongodb'
import { openChangeStream, type ChangeStreamReader, type StreamPosition } from './change-stream.ts'
import { writtenByUs } from './models.ts'
import type { Checkpoint } from './relay-topics.ts'
import { inShard, type Shard } from './shards.ts'

/** Where the stream goes on behind a checkpoint. */
export function positionOf ({ token, operationTime }: Pick<Checkpoint, 'token' | 'operationTime'>): StreamPosition {
  return operationTime === undefined ? { startAfter: token! } : { startAtOperationTime: new Timestamp(operationTime) }
}

/** The orders of a shard that are inserted behind a checkpoint, each as `fullDocument` of a raw event. MongoDB filters, so that each relay is sent its share only. */
export async function openOrderStream (db: Db, collection: string, checkpoint: Checkpoint, batchSize: number, shard: Shard): Promise<ChangeStreamReader<Buffer>> {
  return await openChangeStream({
    db,
    collection,
    pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.'), ...inShard('$documentKey._id', shard) } }, { $project: { fullDocument: 1 } }],
    position: positionOf(checkpoint),
    batchSize,
    raw: true
  })
}
