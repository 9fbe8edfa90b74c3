import { setTimeout as delay } from 'node:timers/promises'
import { MongoServerError, type Collection, type Db, type Document, type Timestamp } from 'mongodb'
import type { Kafka } from 'kafkajs'
import { HISTORY_LOST, openChangeStream, type ChangeBatch, type ChangeStreamReader, type ResumeToken } from './change-stream.ts'
import { orAborted } from './deadline.ts'
import { openOrderEventsProducer, type OrderEventsProducer } from './kafka.ts'
import type { Lease } from './lease.ts'
import type { Logger } from './log.ts'
import { isOrderDocument, toRecord, writtenByUs, type OrderDocument } from './models.ts'
import { checkpointMessage, fenceMarker, prepareTopics, readCheckpoint, relayNames, type TopicSettings } from './relay-topics.ts'

/*
 * Tells Kafka of every order, exactly once. The oplog is the outbox: the leader follows the change stream of the orders and
 * commits the events of a batch and the resume token that follows them in one Kafka transaction. So whatever dies, and when:
 * either both are there or neither, and the next leader goes on right behind the last event.
 *
 * To lead is always the same three steps, at the first start and after any error: fence every older producer, read the last
 * checkpoint, open the change stream there. Nothing is repaired in place, as only the checkpoint knows what was committed.
 */

const BATCH_EVENTS_MAX = 1_000
/** How long an idle change stream may wait for an event; an event ends the wait at once. */
const AWAIT_MS = 1_000
/** An idle deployment's token must not age out of the oplog. */
const IDLE_CHECKPOINT_MS = 60_000
const RETRY_MS_FIRST = 250
const RETRY_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

export interface RelayObserver {
  leader: (leads: boolean) => void
  /** A committed transaction. */
  published: (events: number, seconds: number) => void
}

/** How far the relay is: what the lease carries for others to see. */
export interface RelayPosition { token: ResumeToken, orderId?: string | undefined, at: string }

export interface RelayOptions {
  db: Db
  collection: Collection<OrderDocument>
  kafka: Kafka
  topic: TopicSettings
  lease: Lease
  /** Where to start when there is no checkpoint: before the first order of this service. */
  origin: Timestamp
  log: Logger
  observe: RelayObserver
  /** How long an idle relay keeps its checkpoint. */
  idleCheckpointMs?: number
}

export type Relay = ReturnType<typeof createRelay>

export function createRelay ({ db, collection, kafka, topic, lease, origin, log, observe, idleCheckpointMs = IDLE_CHECKPOINT_MS }: RelayOptions) {
  const names = relayNames(topic.topic, db.databaseName)
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let position: RelayPosition | undefined
  let leads = false
  let lastOrderId: string | undefined
  let complainedAt = -Infinity

  async function run (): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        await term()
        failures = 0
      } catch (error) {
        failures = position === undefined ? failures + 1 : 1
        complain(error as Error, failures)
      }
      position = undefined
      await delay(Math.min(RETRY_MS_FIRST * 2 ** failures, RETRY_MS_MAX), undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  /** A Kafka that is away for an hour is one fact, not one for each try; and one that was just started needs a second try. */
  function complain (error: Error, failures: number): void {
    log.debug({ err: error }, 'the relay stopped')
    if (failures < 2 || performance.now() - complainedAt < COMPLAIN_MS) return
    complainedAt = performance.now()
    log.warn({ reason: error.message }, 'the relay tries again; until it succeeds events wait in MongoDB')
  }

  /** One leadership, from getting the lease to losing it. */
  async function term (): Promise<void> {
    const until = await lease.acquire(stopping.signal)
    if (until === undefined) return
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, stopping.signal])
    const held = lease.hold(until, signal, () => position).finally(() => over.abort())
    try {
      await lead(signal)
    } finally {
      setLeads(false)
      over.abort()
      await held
      await lease.release(position)
    }
  }

  function setLeads (now: boolean): void {
    leads = now
    observe.leader(now)
  }

  async function lead (signal: AbortSignal): Promise<void> {
    const partitions = await prepareTopics(kafka, topic, names)
    const marker = fenceMarker(names)
    let producer: OrderEventsProducer | undefined
    let stream: ChangeStreamReader | undefined
    try {
      producer = await openOrderEventsProducer({ kafka, ...names, topic: topic.topic, partitions, marker })
      const checkpoint = await readCheckpoint(kafka, names, marker)
      if (checkpoint === undefined) await refuseLostCheckpoint()
      if (signal.aborted) return
      stream = await openStream(checkpoint?.token)
      lastOrderId = checkpoint?.orderId
      log.info({ topic: topic.topic, checkpoint: checkpoint?.at }, 'the relay leads')
      setLeads(true)
      await follow(producer, stream, signal)
    } catch (error) {
      if (error instanceof MongoServerError && error.code === HISTORY_LOST) {
        throw new Error('the oplog no longer reaches back to the relay\'s checkpoint: make it larger, and publish what is missing by hand', { cause: error })
      }
      throw error
    } finally {
      await Promise.all([producer?.close(), stream?.close()])
    }
  }

  /** To start over at the origin would publish events a second time. */
  async function refuseLostCheckpoint (): Promise<void> {
    const published = await lease.position()
    if (published !== undefined) {
      throw new Error(`the checkpoint is gone from the topic ${names.checkpointTopic}, but events were published until ${published.at}: bring the topic back`)
    }
  }

  async function openStream (token: ResumeToken | undefined): Promise<ChangeStreamReader> {
    return await openChangeStream({
      db,
      collection: collection.collectionName,
      pipeline: [{ $match: { operationType: 'insert', ...writtenByUs('fullDocument.') } }, { $project: { fullDocument: 1 } }],
      position: token === undefined ? { startAtOperationTime: origin } : { startAfter: token },
      batchSize: BATCH_EVENTS_MAX
    })
  }

  /** The next batch is fetched while this one is published. */
  async function follow (producer: OrderEventsProducer, stream: ChangeStreamReader, signal: AbortSignal): Promise<void> {
    let committedAt = performance.now()
    let next = stream.next(AWAIT_MS)
    while (!signal.aborted) {
      const batch = await orAborted(next, signal)
      if (batch === undefined) break // `next` settles without anybody when the stream is closed
      next = stream.next(AWAIT_MS)
      next.catch(() => {}) // its error is met at the next turn
      if (batch.events.length > 0 || performance.now() - committedAt > idleCheckpointMs) {
        await publish(producer, batch)
        committedAt = performance.now()
      }
    }
    next.catch(() => {})
  }

  async function publish (producer: OrderEventsProducer, { events, token }: ChangeBatch): Promise<void> {
    const start = performance.now()
    const records = events.flatMap(({ fullDocument }) => isOrderDocument(fullDocument) ? [toRecord(fullDocument)] : unknownOrder(fullDocument))
    for (const { key } of records) if (lastOrderId === undefined || key > lastOrderId) lastOrderId = key
    const reached = { token, ...(lastOrderId === undefined ? {} : { orderId: lastOrderId }), at: new Date().toISOString() }
    await producer.publish(records, checkpointMessage(names, reached))
    position = reached
    observe.published(records.length, (performance.now() - start) / 1000)
  }

  /** Put there by hand, in a shape that this service never writes: to stop for it would hold up all others. */
  function unknownOrder (document: Document): [] {
    log.warn({ orderId: String(document._id) }, 'a document in the collection of orders is none of ours and gets no event')
    return []
  }

  return {
    start (): void {
      running ??= run()
    },

    /** Finishes the transaction at hand and gives the lease back. */
    async stop (): Promise<void> {
      stopping.abort()
      await running
    },

    get leads (): boolean { return leads },

    get position (): RelayPosition | undefined { return leads ? position : undefined }
  }
}
