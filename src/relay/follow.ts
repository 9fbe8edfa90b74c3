import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, Db, Document } from 'mongodb'
import type { Kafka } from 'kafkajs'
import { createBatchSize } from './publishing/batch-size.ts'
import type { ClusterTime } from '../mongo/change-event.ts'
import type { ChangeBatch } from '../mongo/change-stream.ts'
import type { Checkpoint } from './checkpoint/checkpoint.ts'
import { collectionId } from '../mongo/collection-id.ts'
import { orAborted } from '../runtime/deadline.ts'
import { recordsOf } from '../events/change-to-record.ts'
import type { HeldOrders } from './publishing/held-orders.ts'
import { withAdmin } from '../kafka/admin.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import type { OrderDocument } from '../models.ts'
import { AHEAD_SECONDS_MAX, msOf } from '../encoding/order-id.ts'
import { openOrderStream } from './publishing/order-stream.ts'
import type { Publisher } from './publishing/publisher.ts'
import { createReinsertions, type InsertedBatch } from './held/reinsertions.ts'
import { topicLimits, type TopicLimits } from './checkpoint/topics.ts'
import type { ReconciliationObserver, Unknowable } from './reconciliation/reconcile.ts'

/*
 * A leadership after its start: it follows the change stream and publishes each batch together with the token that
 * follows it.
 */

/**
 * A transaction costs Kafka and this process the same for one event as for fifty. Without a pause they would follow
 * each other at every 8 ms under light load; with it an event is late by some 15 ms more.
 */
const PACE_MS = 25
/** Under load, that is with so many events in a transaction, fewer transactions are worth another 10 ms. */
const BUSY_EVENTS = 50
const BUSY_PACE_MS = 40
/** How long an idle change stream may wait for an event; an event ends the wait at once. */
const AWAIT_MS = 1_000
/** An idle deployment's token must not age out of the oplog. */
const IDLE_CHECKPOINT_MS = 60_000
/** Partitions that were added, and a new max.message.bytes, are used within five minutes. */
const LOOK_MS = 240_000
const STRANGERS_MS = 60_000

export interface FollowOptions {
  db: Db
  collection: Collection<OrderDocument>
  kafka: Kafka
  topic: string
  publisher: Publisher
  start: Checkpoint
  limits: TopicLimits
  /** The leadership before got nowhere. */
  careful: boolean
  held: HeldOrders
  unknowable?: Unknowable | undefined
  /** Puts the origin and the source back. */
  keepOrigin: () => Promise<unknown>
  log: Logger
  observe: Pick<ReconciliationObserver, 'unknowable'>
  signal: AbortSignal
  /** The stream is open. */
  onLead: () => void
  /** All that was inserted before this time of the cluster is published. */
  onDrained: (time: ClusterTime) => void
  /** How long an idle relay keeps its checkpoint. */
  idleCheckpointMs?: number
  /** How often it looks at the topic. */
  lookMs?: number
}

/** @returns when `signal` aborts, or the topic has changed so that a new leadership is needed */
export async function follow (options: FollowOptions): Promise<void> {
  const {
    db,
    collection,
    kafka,
    topic,
    publisher,
    start,
    limits,
    log,
    signal,
    onLead,
    onDrained,
    idleCheckpointMs = IDLE_CHECKPOINT_MS,
    lookMs = LOOK_MS
  } = options
  const size = createBatchSize(options.careful)
  const reinsertions = createReinsertions({ ...options, removed: start.removed })
  let { orderId, operationTime } = start
  let committedAt = performance.now()
  let lookedAt = committedAt
  const strangers = createThrottle(STRANGERS_MS)
  let wanted = size.size
  let dropped = false
  const stream = await openOrderStream({
    db,
    collection: collection.collectionName,
    checkpoint: start,
    batchSize: wanted,
    onDrop (at) {
      dropped = true
      reinsertions.dropped(at)
    }
  })
  try {
    log.info({ topic, checkpoint: start.token && start.at }, 'the relay leads')
    onLead()
    let next = ask()
    while (!signal.aborted) {
      const batch = await orAborted(next, signal)
      if (batch === undefined) return // `next` settles without anybody when the stream is closed
      const began = performance.now()
      const backlog = batch.events.length >= wanted
      const batches = await reinsertions.gather(batch, () =>
        backlog ? orAborted(ask(), signal) : Promise.resolve(undefined)
      )
      const fetchAhead = backlog && batches.length === 1
      if (fetchAhead) next = ask()
      for (const one of batches) {
        if (one.inserted.length > 0 || one.removals || performance.now() - committedAt > idleCheckpointMs) {
          await publish(one)
        }
      }
      if (batch.events.length === 0 && batch.reached !== undefined) onDrained(batch.reached)
      if (performance.now() - lookedAt > lookMs && await topicChanged()) return
      if (fetchAhead) continue
      const paceMs = batch.events.length < BUSY_EVENTS ? PACE_MS : BUSY_PACE_MS
      if (batch.events.length > 0 && !backlog) {
        await delay(Math.max(0, began + paceMs - performance.now()), undefined, { signal }).catch(() => {})
      }
      next = ask()
    }
  } finally {
    await stream.close()
  }

  function ask (): Promise<ChangeBatch<Buffer>> {
    wanted = size.size
    return stream.next(AWAIT_MS, wanted)
  }

  async function publish ({ inserted, token, reached }: InsertedBatch): Promise<void> {
    if (dropped) {
      dropped = false
      await options.keepOrigin() // what was dropped may have been the whole database
      publisher.collectionIs(await collectionId(db, collection.collectionName))
    }
    const began = performance.now()
    const records = recordsOf(inserted, reportStranger)
    operationTime = reached ?? operationTime
    for (const { key } of records) {
      if (key > (orderId ?? '') && msOf(key) / 1000 <= operationTime!.t + AHEAD_SECONDS_MAX) orderId = key
    }
    const removed = reinsertions.removed(operationTime)
    await publisher.commit(records, {
      token,
      ...(operationTime === undefined ? {} : { operationTime }),
      ...(orderId === undefined ? {} : { orderId }),
      ...(removed === undefined ? {} : { removed }),
      at: new Date().toISOString()
    })
    committedAt = performance.now()
    if (records.length > 0) size.took(records.length, committedAt - began)
  }

  async function topicChanged (): Promise<boolean> {
    lookedAt = performance.now()
    const now = await withAdmin(kafka, "Kafka's answer about the topic", (admin) => topicLimits(admin, topic)).catch(
      (error) => {
        log.debug({ err: error }, 'the topic could not be looked at')
        return limits
      }
    )
    if (now.partitions === limits.partitions && now.maxMessageBytes === limits.maxMessageBytes) return false
    log.info({ topic, before: limits, now }, 'the topic has changed, and the relay begins anew with what it is now')
    return true
  }

  /** Put there by hand, in a shape that this service never writes: to stop for it would hold up all others. */
  function reportStranger (document: Document): void {
    log[strangers.allows() ? 'warn' : 'debug'](
      { orderId: String(document._id) },
      'a document in the collection of orders is none of ours and gets no event'
    )
  }
}
