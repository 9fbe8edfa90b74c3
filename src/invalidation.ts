import { setTimeout as delay } from 'node:timers/promises'
import { Timestamp, type Db } from 'mongodb'
import { isLostHistory, openChangeStream, type ChangeBatch, type ChangeStreamReader, type StreamPosition } from './change-stream.ts'
import type { Logger } from './log.ts'
import { createLoop } from './loop.ts'
import type { OrderReads } from './order-reads.ts'
import type { RedisTier } from './redis-tier.ts'

/*
 * Orders don't change through this service, but somebody may fix one in MongoDB by hand. Each replica follows the updates and
 * deletions of orders and takes them out of its caches. It starts as far back as Redis may hold anything, so that a fix made
 * while no replica was running is not missed; only then is Redis read.
 */

const BATCH_EVENTS_MAX = 1_000
/** An answer says what was missed until it was asked for, so it must come well within the time in which one is expected. */
const AWAIT_MS = 500
const RETRY_MS = 1_000
const LAG_SECONDS_MAX = 1

export interface InvalidationOptions {
  db: Db
  collectionName: string
  reads: Pick<OrderReads, 'invalidate' | 'upToDate' | 'forgetAll'>
  redis: RedisTier | undefined
  redisTtlSeconds: number
  /** The collection was dropped or renamed. */
  onDrop: () => void
  log: Logger
}

export function createInvalidation ({ db, collectionName, reads, redis, redisTtlSeconds, onDrop, log }: InvalidationOptions) {
  let position: StreamPosition | undefined
  let historySeconds = redis === undefined ? 0 : redisTtlSeconds

  async function run (stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      try {
        await follow(stopping)
      } catch (error) {
        if (stopping.aborted) return
        log.warn({ reason: (error as Error).message }, 'fixes made in MongoDB by hand show late: the stream of changes broke and is opened again')
        reads.forgetAll() // another primary may answer first with what was before a change that the last one told of
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
      pipeline: [{ $match: { operationType: { $in: ['update', 'replace', 'delete'] } } }, { $project: { clusterTime: 1, documentKey: 1 } }],
      position,
      batchSize: BATCH_EVENTS_MAX,
      onDrop: () => {
        redis?.distrust() // no event tells which orders went
        reads.forgetAll()
        onDrop()
      }
    })
    const end = (): void => { stream.close() }
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
      else if (upToDate) redis?.trust()
      if (upToDate) reads.upToDate(asked)
      position = { startAfter: token }
    }
  }

  /** A stream that lags behind a busy oplog answers too. */
  function isUpToDate ({ reached, operationTime }: ChangeBatch): boolean {
    return operationTime !== undefined && reached !== undefined && reached.t >= operationTime.t - LAG_SECONDS_MAX
  }

  /** The cluster's time less some seconds, but not before what the oplog holds: that would be refused as lost history. */
  async function operationTimeAgo (seconds: number): Promise<Timestamp> {
    const { operationTime } = await db.command({ ping: 1 }) as { operationTime: Timestamp }
    if (seconds === 0) return operationTime
    const oldest = await db.client.db('local').collection<{ ts: Timestamp }>('oplog.rs').find({}, { sort: { $natural: 1 }, limit: 1, projection: { ts: 1 } }).next().catch(() => null)
    const wanted = operationTime.t - seconds
    return oldest !== null && oldest.ts.t >= wanted ? oldest.ts : new Timestamp({ t: wanted, i: 1 })
  }

  return createLoop(run)
}
