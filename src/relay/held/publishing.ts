import type { Collection } from 'mongodb'
import type { Kafka } from 'kafkajs'
import type { Checkpoint } from '../checkpoint/checkpoint.ts'
import type { HeldOrders } from '../publishing/held-orders.ts'
import type { Logger } from '../../runtime/logger.ts'
import type { OrderDocument, OrderRecord } from '../../models.ts'
import { sizeOf } from '../../events/packing.ts'
import { recordsOfOrders } from '../reconciliation/order-records.ts'
import type { Publisher } from '../publishing/publisher.ts'
import type { ReconciliationObserver, Unknowable } from '../reconciliation/reconcile.ts'
import { createRemovals } from './removals.ts'
import { lookUp } from '../reconciliation/topic-lookup.ts'

export interface HeldPublishingOptions {
  collection: Collection<OrderDocument>
  kafka: Kafka
  topic: string
  publisher: Publisher
  /** The last checkpoint. */
  start: Checkpoint
  held: HeldOrders
  unknowable?: Unknowable | undefined
  log: Logger
  observe: Pick<ReconciliationObserver, 'unknowable'> & { oversized: (orders: number) => void }
  signal: AbortSignal
}

/**
 * Publishes what was held back, if it may be by now: events that the topic takes since its limit was raised, and with
 * RELAY_UNKNOWABLE=send orders that waited for that choice. Whatever is on the topic already, as somebody died here
 * before, is left out.
 * @returns the checkpoint by now. It remembers what was published here as if it had been removed: an order may have
 * been set aside though the checkpoint did not get past it, and then the change stream brings it once more, to be
 * looked up.
 */
export async function publishHeld ({
  collection,
  kafka,
  topic,
  publisher,
  start,
  held,
  unknowable = 'wait',
  log,
  observe,
  signal
}: HeldPublishingOptions): Promise<Checkpoint> {
  const removals = createRemovals(start.removed)
  let reached = start
  const { oversized, unknowable: waiting } = await held.read()
  const still = await publish('oversized', oversized)
  observe.oversized(still)
  if (unknowable === 'skip' && waiting.length > 0) await held.remove('unknowable', waiting)
  observe.unknowable(
    unknowable === 'wait' ? waiting.length : unknowable === 'send' ? await publish('unknowable', waiting) : 0
  )
  return reached

  /** @returns how many are still held back */
  async function publish (reason: 'oversized' | 'unknowable', ids: string[]): Promise<number> {
    if (ids.length === 0) return 0
    const large = new Set<string>()
    const done: string[] = []
    // Whoever died here before may have published some of them.
    const there = new Set((await lookUp({ kafka, topic, identity: publisher.identity, ids, signal })).published)
    for await (const records of recordsOfOrders(collection, ids)) {
      if (signal.aborted) return ids.length
      const fitting = records.filter((record) => publisher.takes(record))
      for (const { key } of records) if (!fitting.some((record) => record.key === key)) large.add(key)
      for (const some of inPieces(fitting.filter(({ key }) => !there.has(key)))) await commit(some)
      done.push(...fitting.map(({ key }) => key))
    }
    await held.remove(
      reason,
      ids.filter((id) => !large.has(id))
    ) // also those that were deleted meanwhile
    if (reason === 'unknowable' && large.size > 0) observe.oversized(await held.add('oversized', [...large]))
    if (done.length > 0) log.info({ topic, orders: done.length }, 'events that were held back are published')
    return large.size
  }

  async function commit (records: OrderRecord[]): Promise<void> {
    for (const { key } of records) removals.deleted(key, { t: Math.floor(Date.now() / 1000), i: 0 })
    const removed = removals.since(start.operationTime ?? { t: 0, i: 0 })
    reached = removed === undefined ? start : { ...start, removed }
    await publisher.commit(records, reached)
  }
}

/** Held events are the large ones, and a slow line must get them through before the transaction's deadline. */
const PIECE_BYTES_MAX = 2_000_000

function * inPieces (records: OrderRecord[]): Generator<OrderRecord[]> {
  let piece: OrderRecord[] = []
  let bytes = 0
  for (const record of records) {
    if (piece.length > 0 && bytes + sizeOf(record) > PIECE_BYTES_MAX) {
      yield piece
      piece = []
      bytes = 0
    }
    piece.push(record)
    bytes += sizeOf(record)
  }
  if (piece.length > 0) yield piece
}
