import { setTimeout as delay } from 'node:timers/promises'
import { ObjectId, Timestamp, type Collection, type Db } from 'mongodb'
import type { Kafka } from 'kafkajs'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import { deadline } from '../../runtime/deadline.ts'
import { createIdSet, type IdSet } from './id-set.ts'
import type { Logger } from '../../runtime/logger.ts'
import type { OrderDocument, OrderRecord } from '../../models.ts'
import { firstIdOf, INSERT_SECONDS_MAX, msOf } from '../../encoding/order-id.ts'
import { readOrderIds } from './order-ids.ts'
import { recordsOfOrders } from './order-records.ts'
import type { TopicIdentity } from '../checkpoint/topic-identity.ts'
import { markPublished } from './topic-lookup.ts'
import { judge, MARGIN_MS, type Verdict } from './absence.ts'

/*
 * What the relay does when it can't go on where it was: the oplog no longer reaches back to the checkpoint, or the
 * checkpoint is gone and only a copy says about where it was. It compares the orders since then with the topic and
 * sends what is missing.
 *
 * That an order isn't on the topic means that it was never sent only if what was sent then would still be there. Where
 * neither the times nor the topic prove it, it can't be known, and somebody has to choose: see RELAY_UNKNOWABLE.
 *
 * A crash loses nothing and doubles nothing: what was sent is on the topic, and each transaction carries the old
 * checkpoint with the note that a reconciliation is under way, so the next leader compares again instead of following
 * the oplog.
 */

/** 13 bytes each. More orders take more passes over the topic. */
const IDS_MAX = 4_000_000
const LOAD_ORDERS = 200
const TRANSACTION_EVENTS = 1_000
const TRANSACTION_CHARACTERS = 4_000_000
const PROGRESS_MS = 10_000
const COMPLAIN_MS = 60_000
const ANSWER_MS_MAX = 20_000

export type Unknowable = 'wait' | 'send' | 'skip'

export interface ReconciliationObserver {
  reconciled: (result: 'found' | 'sent' | 'skipped', orders: number) => void
  /** How many orders wait for the operator. */
  unknowable: (orders: number) => void
}

export interface ReconciliationOptions {
  db: Db
  collection: Collection<OrderDocument>
  kafka: Kafka
  topic: string
  /** The last known position. Everything before its `operationTime` is on the topic, or was. */
  known: Checkpoint
  /** Of checkpoints that don't say their time: no order of this service is older. */
  origin: Timestamp
  /** It is Kafka's own, so nothing after it was published either; a copy may be older than what was published. */
  exact: boolean
  identity: TopicIdentity
  /** Commits records together with a checkpoint. */
  commit: (records: OrderRecord[], checkpoint: Checkpoint) => Promise<void>
  /** What to do about orders of which nobody can know whether they were published; wait by default. */
  unknowable?: Unknowable
  log: Logger
  observe: ReconciliationObserver
  signal: AbortSignal
  /** How many orders are compared at a time. */
  idsMax?: number
}

/** @returns the checkpoint that it committed at its end; undefined if `signal` aborted before */
export async function reconcile ({
  db,
  collection,
  kafka,
  topic,
  known,
  origin,
  exact,
  identity,
  commit,
  unknowable = 'wait',
  log,
  observe,
  signal,
  idsMax = IDS_MAX
}: ReconciliationOptions): Promise<Checkpoint | undefined> {
  const startMs = (known.operationTime?.t ?? origin.t) * 1000
  const firstMs = startMs - MARGIN_MS
  const readFromMs = firstMs - MARGIN_MS
  const earlier = known.reconciling
  const reconciling = earlier ?? {
    since: Date.now(),
    topicSince: identity.since,
    notBefore: (exact && known.operationTime !== undefined ? startMs : Date.parse(known.at)) + MARGIN_MS
  }
  const counts = { compared: 0, sent: 0, skipped: 0 }

  /**
   * Compares all orders, as many at a time as there is room for.
   * @returns the cluster time right after which the stream goes on
   */
  async function sweep (
    handle: (ids: IdSet, verdict: Verdict) => Promise<void>
  ): Promise<{ at: Timestamp, last: string | undefined } | undefined> {
    let after = idBefore(firstMs)
    let last: string | undefined
    let at: Timestamp | undefined
    while (!signal.aborted) {
      // Nothing is inserted any more among orders that are old enough. The young ones are read as of one moment, after
      // which the stream goes on; as MongoDB knows the past for five minutes only, that moment comes when the old ones
      // are done.
      const before = at === undefined ? idBefore((await clusterTime()).t * 1000 - MARGIN_MS) : undefined
      const ids = createIdSet(idsMax)
      await readOrderIds({ db, collection: collection.collectionName, range: { after, before }, at, set: ids, signal })
      if (signal.aborted) return undefined
      if (ids.size > 0) {
        await markPublished({ kafka, topic, set: ids, sinceMs: readFromMs, signal })
        counts.compared += ids.size
        await handle(
          ids,
          await judge({ kafka, topic, identity, readFromMs, earlier, notBefore: reconciling.notBefore })
        )
        last = ids.last()!
        after = new ObjectId(last)
      }
      if (ids.full) continue
      if (at !== undefined) return { at, last }
      at = await clusterTime()
    }
    return undefined
  }

  async function clusterTime (): Promise<Timestamp> {
    return (await db.command({ ping: 1 }, deadline(ANSWER_MS_MAX))).operationTime
  }

  async function settle (ids: IdSet, verdict: Verdict): Promise<void> {
    let unmarked = 0
    let load: string[] = []
    let records: OrderRecord[] = []
    let characters = 0
    const flush = async (): Promise<void> => {
      if (records.length === 0) return
      signal.throwIfAborted()
      await commit(records, { ...known, reconciling })
      counts.sent += records.length
      observe.reconciled('sent', records.length)
      records = []
      characters = 0
    }
    const loadOrders = async (): Promise<void> => {
      for await (const orders of recordsOfOrders(collection, load)) {
        for (const record of orders) {
          records.push(record)
          characters += record.value.length
          if (records.length >= TRANSACTION_EVENTS || characters > TRANSACTION_CHARACTERS) await flush()
        }
      }
      load = []
    }
    for (const id of ids.unmarked()) {
      unmarked++
      if (verdict(id) === 'unknowable') {
        if (unknowable === 'wait') throw new Error('the topic lost records while orders were compared with it')
        if (unknowable === 'skip') {
          counts.skipped++
          observe.reconciled('skipped', 1)
          continue
        }
      }
      load.push(id)
      if (load.length >= LOAD_ORDERS) await loadOrders()
    }
    await loadOrders()
    await flush()
    observe.reconciled('found', ids.size - unmarked)
  }

  /** Nothing is sent before the choice: it might have left the topic again when the choice is made. */
  async function unknowableOrders (): Promise<{ orders: number, oldest?: string }> {
    if (unknowable !== 'wait') return { orders: 0 }
    const found: { orders: number, oldest?: string } = { orders: 0 }
    await sweep(async (ids, verdict) => {
      for (const id of ids.unmarked()) {
        if (verdict(id) === 'missing') continue
        found.oldest ??= id
        found.orders++
      }
    })
    return found
  }

  async function waitForChoice (orders: number, oldest: string): Promise<void> {
    observe.unknowable(orders)
    while (!signal.aborted) {
      log.error(
        { orders, since: new Date(msOf(oldest)).toISOString(), topic },
        'nobody can know whether these orders were published: the topic no longer holds what it held then. No event is published until you choose: start all processes with RELAY_UNKNOWABLE=send (subscribers get an event twice where it had been published) or RELAY_UNKNOWABLE=skip (they never get it where it had not)'
      )
      await delay(COMPLAIN_MS, undefined, { signal }).catch(() => {})
    }
    observe.unknowable(0)
  }

  const progress = setInterval(() => log.info(counts, 'the relay compares orders with the topic'), PROGRESS_MS)
  try {
    const { orders, oldest } = await unknowableOrders()
    if (oldest !== undefined) {
      clearInterval(progress)
      await waitForChoice(orders, oldest)
      return undefined
    }
    counts.compared = 0
    const swept = await sweep(settle)
    if (swept === undefined) return undefined
    const { at, last = '' } = swept
    // An id from the future would hide from the lag what comes after it.
    const newest = [last, known.orderId ?? ''].sort()[1]!
    const orderId = newest < firstIdOf(at.t) ? newest : firstIdOf(at.t)
    // What was deleted until now is not known, so any order may be put back that is older than one that is just being
    // posted.
    const next = {
      operationTime: { t: at.t, i: at.i + 1 },
      ...(orderId === '' ? {} : { orderId }),
      removed: { ids: [], before: at.t - INSERT_SECONDS_MAX },
      at: new Date().toISOString()
    }
    await commit([], next)
    log.info(counts, 'the relay has compared all orders with the topic and goes on')
    return next
  } finally {
    clearInterval(progress)
  }
}

/** The greatest id that is older than a time. */
function idBefore (ms: number): ObjectId {
  return new ObjectId(Math.max(0, Math.floor(ms / 1000) - 1).toString(16).padStart(8, '0') + 'f'.repeat(16))
}
