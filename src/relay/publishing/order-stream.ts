import { Timestamp, type Db } from 'mongodb'
import { afterClusterTime, clusterTimeOf, type ClusterTime } from '../../mongo/change-event.ts'
import { openChangeStream, type ChangeStreamReader, type StreamPosition } from '../../mongo/change-stream.ts'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import { objectOf } from '../../events/change-to-record.ts'
import { writtenByUs } from '../../models.ts'
import { MARGIN_MS } from '../reconciliation/absence.ts'

/** Where the stream goes on after a checkpoint. */
export function positionOf ({ token, operationTime }: Pick<Checkpoint, 'token' | 'operationTime'>): StreamPosition {
  return token === undefined ? { startAtOperationTime: new Timestamp(operationTime!) } : { startAfter: token }
}

/**
 * An order may be put back after it was deleted; an old one that is put back shows by its id, so its deletion need not
 * be known.
 */
const YOUNG = {
  $cond: [
    { $eq: [{ $type: '$documentKey._id' }, 'objectId'] },
    { $gt: [{ $toDate: '$documentKey._id' }, { $subtract: [{ $toDate: '$clusterTime' }, 2 * MARGIN_MS] }] },
    false
  ]
}

/**
 * The orders that are inserted after a checkpoint, each as `fullDocument` of a raw event, and the ids of those that are
 * deleted young.
 */
export async function openOrderStream ({ db, collection, checkpoint, batchSize, onDrop }: {
  db: Db, collection: string, checkpoint: Checkpoint, batchSize: number, onDrop?: (at: ClusterTime) => void
}): Promise<ChangeStreamReader<Buffer>> {
  return await openChangeStream({
    db,
    collection,
    pipeline: [
      {
        $match: {
          $or: [
            { operationType: 'insert', ...writtenByUs('fullDocument.') },
            { operationType: 'delete', $expr: YOUNG }
          ]
        }
      },
      {
        $project: {
          clusterTime: 1,
          fullDocument: 1,
          deleted: { $cond: [{ $eq: ['$operationType', 'delete'] }, '$documentKey._id', '$$REMOVE'] }
        }
      }
    ],
    position: positionOf(checkpoint),
    batchSize,
    raw: true,
    ...(onDrop === undefined ? {} : { onDrop })
  })
}

export interface OrderChange { id: string, at: ClusterTime, deleted: boolean }

const ID_BYTES = 12
const DELETED = Buffer.from('\x07deleted\0', 'latin1')
const ORDER = Buffer.from('\x03fullDocument\0', 'latin1')
const ID = Buffer.from('\x07_id\0', 'latin1')
const LENGTH_BYTES = 4

/** What a raw event of the stream is about. */
export function changeIn (event: Buffer): OrderChange {
  const at = clusterTimeOf(event)
  const element = afterClusterTime(event)
  const afterOrder = element + ORDER.length + LENGTH_BYTES
  if (matches(event, ORDER, element) && matches(event, ID, afterOrder)) {
    return { id: idAt(event, afterOrder + ID.length), at, deleted: false }
  }
  if (matches(event, DELETED, element)) return { id: idAt(event, element + DELETED.length), at, deleted: true }
  const { fullDocument } = objectOf(event)
  return { id: String(fullDocument._id), at, deleted: false }
}

function matches (event: Buffer, bytes: Buffer, at: number): boolean {
  return event.compare(bytes, 0, bytes.length, at, Math.min(at + bytes.length, event.length)) === 0
}

function idAt (event: Buffer, at: number): string {
  return event.toString('hex', at, at + ID_BYTES)
}
