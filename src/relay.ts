import { setTimeout as delay } from 'node:timers/promises'
import { MongoServerError, type Collection, type Db, type Document, type Timestamp } from 'mongodb'
import type { Kafka } from 'kafkajs'
import { HISTORY_LOST, type ChangeBatch, type ChangeStreamReader } from './change-stream.ts'
import { orAborted } from './deadline.ts'
import { recordsOf } from './event-encoding.ts'
import { openOrderEventsProducer, type EventRecord, type OrderEventsProducer } from './kafka.ts'
import type { Lease } from './lease.ts'
import type { Logger } from './log.ts'
import type { OrderDocument } from './models.ts'
import { openOrderStream } from './order-stream.ts'
import { reconcile, type ReconciliationObserver, type ReconciliationOptions } from './reconciliation.ts'
import { checkpointIn, readRecords } from './relay-records.ts'
import { checkpointMessage, fenceMarker, prepareTopics, relayNames, type Checkpoint, type TopicSettings } from './relay-topics.ts'
import { createTerms } from './terms.ts'
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
  let position: Checkpoint | undefined
  let identity: TopicIdentity
  let leads = false
  let progressed = false
  /** The checkpoint that the oplog does not reach back to. */
  let lost: Checkpoint | undefined
  let lastOrderId: string | undefined
  let comparedAt = -Infinity
  const terms = createTerms({ lease, lead, position: () => position, ended, log })

  function ended (): boolean {
    const got = progressed
    position = undefined
    progressed = false
    return got
  }

  async function lead (signal: AbortSignal): Promise<void> {
    const partitions = await prepareTopics(kafka, topic, names)
    const marker = fenceMarker(names)
    let producer: OrderEventsProducer | undefined
    let stream: ChangeStreamReader<Buffer> | undefined
    let start: Checkpoint | undefined
    try {
      producer = await openOrderEventsProducer({ kafka, ...names, topic: topic.topic, partitions, marker })
      const records = await readRecords(kafka, names, marker, (records) => records.has(names.database))
      start = await startingPlace(producer, checkpointIn(records, names), signal)
      if (start === undefined || signal.aborted) return
      stream = await openOrderStream(db, collection.collectionName, start, BATCH_EVENTS_MAX)
      lastOrderId = start.orderId
      log.info({ topic: topic.topic, checkpoint: start.token && start.at }, 'the relay leads')
      setLeads(true)
      await follow(producer, stream, start, signal)
    } catch (error) {
      if (isLost(error)) {
        lost = start
        throw new Error('the oplog no longer reaches back to the relay\'s checkpoint: make it larger', { cause: error })
      }
      throw error
    } finally {
      setLeads(false)
      await Promise.all([producer?.close(), stream?.close()])
    }
  }

  function setLeads (now: boolean): void {
    if (leads === now) return
    leads = now
    observe.leader(now)
  }

  /** The checkpoint, if the stream can go on there; else the one at the end of a reconciliation, undefined if that was called off. */
  async function startingPlace (producer: OrderEventsProducer, checkpoint: Checkpoint | undefined, signal: AbortSignal): Promise<Checkpoint | undefined> {
    const known = checkpoint ?? await lease.position() as Checkpoint | undefined
    identity = await identifyTopic(kafka, topic.topic, known?.topic, known === undefined)
    const from = known ?? { operationTime: { t: origin.t, i: origin.i }, at: new Date(0).toISOString() }
    if (lost?.at !== from.at && from.reconciling === undefined && (checkpoint !== undefined || known === undefined)) return from
    const isNews = performance.now() - comparedAt > COMPLAIN_MS
    if (isNews) comparedAt = performance.now()
    log[isNews ? 'warn' : 'debug']({ topic: topic.topic, since: from.at, lost: checkpoint === undefined ? 'checkpoint' : 'oplog' }, 'the relay can\'t go on where it was and compares the orders with the topic')
    const commitHere = (records: EventRecord[], reached: Checkpoint): Promise<void> => commit(producer, records, reached)
    return await reconcile({ ...options, topic: topic.topic, known: from, exact: checkpoint !== undefined, identity, commit: commitHere, signal })
  }

  /** A backlog is fetched ahead while it is published; otherwise the events of some ms go together. */
  async function follow (producer: OrderEventsProducer, stream: ChangeStreamReader<Buffer>, start: Checkpoint, signal: AbortSignal): Promise<void> {
    let committedAt = performance.now()
    let reached = start.operationTime
    let next = stream.next(AWAIT_MS)
    while (!signal.aborted) {
      const batch = await orAborted(next, signal)
      if (batch === undefined) break // `next` settles without anybody when the stream is closed
      const backlog = batch.events.length === BATCH_EVENTS_MAX
      if (backlog) next = stream.next(AWAIT_MS)
      const began = performance.now()
      if (batch.events.length > 0 || performance.now() - committedAt > idleCheckpointMs) {
        reached = await publish(producer, batch, reached)
        committedAt = performance.now()
      }
      if (backlog) continue
      const paceMs = batch.events.length < BUSY_EVENTS ? PACE_MS : BUSY_PACE_MS
      if (batch.events.length > 0) await delay(began + paceMs - performance.now(), undefined, { signal }).catch(() => {})
      next = stream.next(AWAIT_MS)
    }
  }

  /** @returns a time of the cluster up to which all is published */
  async function publish (producer: OrderEventsProducer, { events, token, reached }: ChangeBatch<Buffer>, before: Checkpoint['operationTime']): Promise<Checkpoint['operationTime']> {
    const records = recordsOf(events, unknownOrder)
    for (const { key } of records) if (lastOrderId === undefined || key > lastOrderId) lastOrderId = key
    const operationTime = reached ?? before
    await commit(producer, records, {
      token, ...(operationTime === undefined ? {} : { operationTime }), ...(lastOrderId === undefined ? {} : { orderId: lastOrderId }), at: new Date().toISOString()
    })
    progressed = true
    return operationTime
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
    start: terms.start,

    /** Finishes the transaction at hand and gives the lease back. */
    stop: terms.stop,

    get leads (): boolean { return leads },

    get position (): Checkpoint | undefined { return leads ? position : undefined }
  }
}

/** Only a comparison with the topic helps: the oplog was overwritten. */
function isLost (error: unknown): boolean {
  return error instanceof MongoServerError && error.code === HISTORY_LOST
}
