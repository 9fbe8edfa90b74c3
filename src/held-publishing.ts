import type { Collection } from 'mongodb'
import type { Kafka } from 'kafkajs'
import type { Checkpoint } from './checkpoint.ts'
import type { HeldOrders } from './held-orders.ts'
import type { Logger } from './log.ts'
import type { OrderDocument, OrderRecord } from './models.ts'
import { recordsOfOrders } from './order-records.ts'
import type { Publisher } from './publisher.ts'
import type { ReconciliationObserver, Unknowable } from './reconciliation.ts'
import { lookUp } from './topic-lookup.ts'

export interface HeldPublishingOptions {
  collection: Collection<OrderDocument>
  kafka: Kafka
  topic: string
  publisher: Publisher
  /** The checkpoint that the events are committed with. */
  start: Checkpoint
  held: HeldOrders
  unknowable?: Unknowable | undefined
  log: Logger
  observe: Pick<ReconciliationObserver, 'unknowable'> & { oversized: (orders: number) => void }
  signal: AbortSignal
}

/**
 * Publishes what was held back, if it may be by now: events that the topic takes since its limit was raised, and with
 * RELAY_UNKNOWABLE=send orders that waited for that choice. Whatever is on the topic already, as somebody died here before, is left out.
 */
export async function publishHeld ({ collection, kafka, topic, publisher, start, held, unknowable = 'wait', log, observe, signal }: HeldPublishingOptions): Promise<void> {
  const { oversized, unknowable: waiting } = await held.read()
  const still = await publish('oversized', oversized)
  observe.oversized(still)
  if (unknowable === 'skip' && waiting.length > 0) await held.remove('unknowable', waiting)
  observe.unknowable(unknowable === 'wait' ? waiting.length : unknowable === 'send' ? await publish('unknowable', waiting) : 0)

  /** @returns how many are still held back */
  async function publish (reason: 'oversized' | 'unknowable', ids: string[]): Promise<number> {
    if (ids.length === 0) return 0
    const large = new Set<string>()
    const done: string[] = []
    for await (const records of recordsOfOrders(collection, ids)) {
      if (signal.aborted) return ids.length
      const fitting = records.filter((record) => publisher.takes(record))
      for (const { key } of records) if (!fitting.some((record) => record.key === key)) large.add(key)
      if (fitting.length > 0) await publishAbsent(fitting)
      done.push(...fitting.map(({ key }) => key))
    }
    await held.remove(reason, ids.filter((id) => !large.has(id))) // also those that were deleted meanwhile
    if (reason === 'unknowable' && large.size > 0) observe.oversized(await held.add('oversized', [...large]))
    if (done.length > 0) log.info({ topic, orders: done.length }, 'events that were held back are published')
    return large.size
  }

  async function publishAbsent (records: OrderRecord[]): Promise<void> {
    const { published } = await lookUp({ kafka, topic, identity: publisher.identity, ids: records.map(({ key }) => key), signal })
    const there = new Set(published)
    await publisher.commit(records.filter(({ key }) => !there.has(key)), start)
  }
}
