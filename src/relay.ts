import { setTimeout as delay } from 'node:timers/promises'
import { MongoServerError, type Collection, type Db, type Document, type Timestamp } from 'mongodb'
import type { Kafka } from 'kafkajs'
import { HISTORY_LOST, type ChangeBatch, type ChangeStreamReader } from './change-stream.ts'
import { orAborted } from './deadline.ts'
import { openOrderEventsProducer, type EventRecord, type OrderEventsProducer } from './kafka.ts'
import type { Lease } from './lease.ts'
import type { Logger } from './log.ts'
import { recordsOf } from './event-encoding.ts'
import type { OrderDocument } from './models.ts'
import { openOrderStream } from './order-stream.ts'
import { reconcile, type ReconciliationObserver, type ReconciliationOptions } from './reconciliation.ts'
import { checkpointMessage, fenceMarker, prepareTopics, readCheckpoint, relayNames, type Checkpoint, type TopicSettings } from './relay-topics.ts'
import { afterWriting, identifyTopic, type TopicIdentity } from './topic-identity.ts'

/*
 * Tells Kafka of every order, exactly once. The oplog is the outbox: the leader follows the change stream of the orders and
 * commits the events of a batch and the resume token that follows them in one Kafka transaction. So whatever dies, and when:
 * either both are there or neither, and the next leader goes on right behind the last event.
 *
 * To lead is always the same three steps, at the first start and after any error: fence every older producer, read the last
 * checkpoint, open the change stream there. Nothing is repaired in place, as only the checkpoint knows what was committed.
 * Where there is no checkpoint any more, or the oplog doesn't reach back to it, src/reconciliation.ts makes a new one.
 */

const BATCH_EVENTS_MAX = 1_000
/**
 * A transaction costs Kafka and this process the same for one event as for fifty. Without a pause they would follow each other
 * at every 8 ms under light load; with it an event is late by some 15 ms more.
 */
const PACE_MS = 25
/** Under load, that is with so many events in a transaction, fewer transactions are worth another 10 ms. */
const BUSY_EVENTS = 50
const BUSY_PACE_MS = 40
/** How long an idle change stream may wait for an event; an event ends the wait at once. */
const AWAIT_MS = 1_000
/** An idle deployment's token must not age out of the oplog. */
const IDLE_CHECKPOINT_MS = 60_000
const RETRY_MS_FIRST = 250
const RETRY_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

export interface RelayObserver extends ReconciliationObserver {
  leader: (leads: boolean) => void
  /** A committed transaction. */
  published: (events: number, seconds: number) => void
}

export interface RelayOptions extends Pick<ReconciliationOptions, 'unknowable' | 'idsMax'> {
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

export function createRelay (options: RelayOptions) {
  const { db, collection, kafka, topic, lease, origin, log, observe, idleCheckpointMs = IDLE_CHECKPOINT_MS } = options
  const names = relayNames(topic.topic, db.databaseName)
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let position: Checkpoint | undefined
  let identity: TopicIdentity
  let leads = false
  let progressed = false
  /** The checkpoint that the oplog does not reach back to. */
  let lost: Checkpoint | undefined
  let lastOrderId: string | undefined
  let complainedAt = -Infinity
  let comparedAt = -Infinity

  async function run (): Promise<void> {
    let failures = 0
    while (!stopping.signal.aborted) {
      try {
        await term()
        failures = 0
      } catch (error) {
        failures = progressed ? 1 : failures + 1
        complain(error as Error, failures)
      }
      position = undefined
      progressed = false
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
    let stream: ChangeStreamReader<Buffer> | undefined
    let start: Checkpoint | undefined
    try {
      producer = await openOrderEventsProducer({ kafka, ...names, topic: topic.topic, partitions, marker })
      start = await startingPlace(producer, await readCheckpoint(kafka, names, marker), signal)
      if (start === undefined || signal.aborted) return
      stream = await openOrderStream(db, collection.collectionName, start, BATCH_EVENTS_MAX)
      lastOrderId = start.orderId
      log.info({ topic: topic.topic, checkpoint: start.token && start.at }, 'the relay leads')
      setLeads(true)
      await follow(producer, stream, signal)
    } catch (error) {
      if (error instanceof MongoServerError && error.code === HISTORY_LOST) {
        lost = start
        throw new Error('the oplog no longer reaches back to the relay\'s checkpoint: make it larger', { cause: error })
      }
      throw error
    } finally {
      await Promise.all([producer?.close(), stream?.close()])
    }
  }

  /** The checkpoint, if the stream can go on there; else the one at the end of a reconciliation, undefined if that was called off. */
  async function startingPlace (producer: OrderEventsProducer, checkpoint: Checkpoint | undefined, signal: AbortSignal): Promise<Checkpoint | undefined> {
    const known = checkpoint ?? await lease.position() as Checkpoint | undefined
    identity = await identifyTopic(kafka, topic.topic, known?.topic, known === undefined)
    const from = known ?? { operationTime: { t: origin.getHighBits(), i: origin.getLowBits() }, at: new Date(0).toISOString() }
    if (lost?.at !== from.at && from.reconciling === undefined && (checkpoint !== undefined || known === undefined)) return from
    const isNews = performance.now() - comparedAt > COMPLAIN_MS
    if (isNews) comparedAt = performance.now()
    log[isNews ? 'warn' : 'debug']({ topic: topic.topic, since: from.at, lost: checkpoint === undefined ? 'checkpoint' : 'oplog' }, 'the relay can\'t go on where it was and compares the orders with the topic')
    const commitHere = (records: EventRecord[], reached: Checkpoint): Promise<void> => commit(producer, records, reached)
    return await reconcile({ ...options, topic: topic.topic, known: from, exact: checkpoint !== undefined, identity, commit: commitHere, signal })
  }

  /** A backlog is fetched ahead while it is published; otherwise the events of some ms go together. */
  async function follow (producer: OrderEventsProducer, stream: ChangeStreamReader<Buffer>, signal: AbortSignal): Promise<void> {
    let committedAt = performance.now()
    let next = stream.next(AWAIT_MS)
    while (!signal.aborted) {
      const batch = await orAborted(next, signal)
      if (batch === undefined) break // `next` settles without anybody when the stream is closed
      const backlog = batch.events.length === BATCH_EVENTS_MAX
      if (backlog) next = stream.next(AWAIT_MS)
      const began = performance.now()
      if (batch.events.length > 0 || performance.now() - committedAt > idleCheckpointMs) {
        await publish(producer, batch)
        committedAt = performance.now()
      }
      if (backlog) continue
      const paceMs = batch.events.length < BUSY_EVENTS ? PACE_MS : BUSY_PACE_MS
      if (batch.events.length > 0) await delay(began + paceMs - performance.now(), undefined, { signal }).catch(() => {})
      next = stream.next(AWAIT_MS)
    }
  }

  async function publish (producer: OrderEventsProducer, { events, token }: ChangeBatch<Buffer>): Promise<void> {
    const records = recordsOf(events, unknownOrder)
    for (const { key } of records) if (lastOrderId === undefined || key > lastOrderId) lastOrderId = key
    await commit(producer, records, { token, ...(lastOrderId === undefined ? {} : { orderId: lastOrderId }), at: new Date().toISOString() })
    progressed = true
  }

  async function commit (producer: OrderEventsProducer, records: EventRecord[], reached: Checkpoint): Promise<void> {
    const start = performance.now()
    identity = afterWriting(identity, await producer.publish(records, checkpointMessage(names, { ...reached, topic: identity })))
    position = { ...reached, topic: identity }
    observe.published(records.length, (performance.now() - start) / 1000)
  }

  /** Put there by hand, in a shape that this service never writes: to stop for it would hold up all others. */
  function unknownOrder (document: Document): void {
    log.warn({ orderId: String(document._id) }, 'a document in the collection of orders is none of ours and gets no event')
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

    get position (): Checkpoint | undefined { return leads ? position : undefined }
  }
}
