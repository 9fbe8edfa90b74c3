import { setTimeout as delay } from 'node:timers/promises'
import { Timestamp, type Db } from 'mongodb'
import {
  isLostHistory,
  openChangeStream,
  type ChangeBatch,
  type ChangeStreamReader,
  type StreamPosition
} from '../mongo/change-stream.ts'
import type { Logger } from '../runtime/logger.ts'
import { createBackgroundTask } from '../runtime/background-task.ts'
import type { OrderReads } from './by-id.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * Orders don't change through this service, but somebody may fix one in MongoDB by hand. Each replica follows the
 * updates and deletions of orders and takes them out of its caches. It starts as far back as Redis may hold anything,
 * so that a fix made while no replica was running is not missed; only then is Redis read.
 */

const BATCH_EVENTS_MAX = 1_000
/**
 * An answer vouches only for what happened before the question was sent, so it must arrive well within `WORD_MS_MAX`.
 */
const AWAIT_MS = 500
const RETRY_MS = 1_000
const LAG_SECONDS_MAX = 1

export interface InvalidationOptions {
  db: Db
  collectionName: string
  reads: Pick<OrderReads, 'invalidate' | 'upToDate' | 'forgetAll'>
  redis: RedisTier | undefined
  redisTtlSeconds: number
  /** The cluster's time before the first order of this service. */
  origin: Timestamp
  /** The collection was dropped or renamed. */
  onDrop: () => void
  log: Logger
}

export function createInvalidation ({
  db,
  collectionName,
  reads,
  redis,
  redisTtlSeconds,
  origin,
  onDrop,
  log
}: InvalidationOptions) {
  let position: StreamPosition | undefined
  let historySeconds = redis === undefined ? 0 : redisTtlSeconds

  async function run (stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      try {
        await follow(stopping)
      } catch (error) {
        if (stopping.aborted) return
        log.warn(
          { reason: (error as Error).message },
          'fixes made in MongoDB by hand show late: the stream of changes broke and is opened again'
        )
        // Another primary may answer first with the state from before a change that the last one reported.
        reads.forgetAll()
        if (isLostHistory(error)) {
          position = undefined
          historySeconds = 0
          redis?.distrust()
        }
        await delay(RETRY_MS, undefined, { signal: stopping }).catch(() => {})
      }
    }
  }

  async function follow (stopping: AbortSignal): Promise<void> {
    position ??= { startAtOperationTime: await operationTimeAgo(historySeconds) }
    const stream = await openChangeStream({
      db,
      collection: collectionName,
      pipeline: [
        { $match: { operationType: { $in: ['update', 'replace', 'delete'] } } },
        { $project: { clusterTime: 1, documentKey: 1 } }
      ],
      position,
      batchSize: BATCH_EVENTS_MAX,
      onDrop: () => {
        redis?.distrust() // no event tells which orders went
        reads.forgetAll()
        onDrop()
      }
    })
    const end = (): void => {
      stream.close()
    }
    stopping.addEventListener('abort', end, { once: true })
    try {
      await read(stream, stopping)
    } finally {
      stopping.removeEventListener('abort', end)
      if (!stopping.aborted) await stream.close()
    }
  }

  async function read (stream: ChangeStreamReader, stopping: AbortSignal): Promise<void> {
    // A short wait at first: no event within it means that the past is dealt with.
    for (let awaitMs = 10; !stopping.aborted; awaitMs = AWAIT_MS) {
      const asked = performance.now() // the answer may have waited while this process stood still
      const batch = await stream.next(awaitMs)
      const { events, token } = batch
      const upToDate = isUpToDate(batch)
      if (events.length > 0) await reads.invalidate(events.map(({ documentKey }) => String(documentKey._id)))
      if (upToDate) {
        redis?.trust()
        reads.upToDate(asked)
      }
      position = { startAfter: token }
    }
  }

  /** A stream that lags behind a busy oplog answers too. */
  function isUpToDate ({ reached, operationTime }: ChangeBatch): boolean {
    return operationTime !== undefined && reached !== undefined && reached.t >= operationTime.t - LAG_SECONDS_MAX
  }

  /**
   * The cluster's time less some seconds, but not before what the oplog holds: that would be refused as lost history.
   * What was changed before the oplog begins is not known, unless it begins with the replica set, and this service with
   * it: a database that was restored into a new set brings along the name under which Redis has the old one's orders.
   */
  async function operationTimeAgo (seconds: number): Promise<Timestamp> {
    const { operationTime } = (await db.command({ ping: 1 })) as { operationTime: Timestamp }
    if (seconds === 0) return operationTime
    const wanted = operationTime.t - seconds
    const oldest = await db.client
      .db('local')
      .collection<{ ts: Timestamp, o?: { msg?: string } }>('oplog.rs')
      // It may be forbidden.
      .findOne({}, { sort: { $natural: 1 }, projection: { ts: 1, 'o.msg': 1 } })
      .catch(() => null)
    if (oldest === null || oldest.ts.t < wanted) return new Timestamp({ t: wanted, i: 1 })
    if (oldest.o?.msg !== 'initiating set' || origin.lessThan(oldest.ts)) redis?.distrust()
    return oldest.ts
  }

  return createBackgroundTask(run)
}
