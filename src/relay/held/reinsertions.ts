import type { Kafka } from 'kafkajs'
import type { ClusterTime } from '../../mongo/change-event.ts'
import type { ChangeBatch } from '../../mongo/change-stream.ts'
import type { Removed } from '../checkpoint/checkpoint.ts'
import type { HeldOrders } from '../publishing/held-orders.ts'
import type { Logger } from '../../runtime/logger.ts'
import { createThrottle } from '../../runtime/throttle.ts'
import { msOf } from '../../encoding/order-id.ts'
import { changeIn } from '../publishing/order-stream.ts'
import type { Publisher } from '../publishing/publisher.ts'
import type { ReconciliationObserver, Unknowable } from '../reconciliation/reconcile.ts'
import { createRemovals } from './removals.ts'
import { lookUp } from '../reconciliation/topic-lookup.ts'

/** What is looked up in one pass over the topic. Each is held in memory until then. */
const GATHERED_MAX = 20_000
const COMPLAIN_MS = 60_000

export interface InsertedBatch extends Pick<ChangeBatch, 'token' | 'reached'> {
  /** Raw events of orders to publish. */
  inserted: Buffer[]
  /** Something was deleted, which the next checkpoint has to remember. */
  removals: boolean
}

export interface ReinsertionOptions {
  kafka: Kafka
  topic: string
  publisher: Publisher
  removed?: Removed | undefined
  held: HeldOrders
  unknowable?: Unknowable | undefined
  log: Logger
  observe: Pick<ReconciliationObserver, 'unknowable'>
  signal: AbortSignal
}

/** Keeps orders that are inserted again from being published again, see src/relay/held/removals.ts. */
export function createReinsertions ({
  kafka,
  topic,
  publisher,
  removed,
  held,
  unknowable = 'wait',
  log,
  observe,
  signal
}: ReinsertionOptions) {
  const removals = createRemovals(removed)
  const counts = { orders: 0, published: 0, missing: 0, unknowable: 0 }
  const complaints = createThrottle(COMPLAIN_MS)

  function sort ({ events, token, reached }: ChangeBatch<Buffer>) {
    const inserted: { event: Buffer, id: string, doubtful: boolean }[] = []
    for (const event of events) {
      const change = changeIn(event)
      if (change.deleted) removals.deleted(change.id, change.at)
      else inserted.push({ event, id: change.id, doubtful: removals.mayBeAgain(change) })
    }
    return {
      inserted,
      token,
      reached,
      removals: inserted.length < events.length,
      doubtful: inserted.some(({ doubtful }) => doubtful)
    }
  }

  async function settle (ids: string[]): Promise<Set<string>> {
    const found = await lookUp({ kafka, topic, identity: publisher.identity, ids, signal })
    counts.orders += ids.length
    for (const kind of ['published', 'missing', 'unknowable'] as const) counts[kind] += found[kind].length
    const kept = unknowable === 'send' ? [] : found.unknowable
    if (unknowable === 'wait' && kept.length > 0) observe.unknowable(await held.add('unknowable', kept))
    if (complaints.allows()) {
      const choice =
        unknowable === 'wait'
          ? 'they wait until you start all processes with RELAY_UNKNOWABLE=send (publish them) or skip (never publish them)'
          : `RELAY_UNKNOWABLE=${unknowable} decides`
      const oldest = ids.reduce((least, id) => (id < least ? id : least))
      log.warn(
        { topic, since: new Date(msOf(oldest)).toISOString(), ...counts },
        `orders were inserted that MongoDB may have had before, as by a restore or a fix by delete and insert: ${counts.published} have their event on ${topic} and get no second one, ${counts.missing} have never had one and get it, and of ${counts.unknowable} nobody can know: ${choice}`
      )
    }
    return new Set([...found.published, ...kept])
  }

  return {
    dropped: removals.dropped,

    /** @returns what the next checkpoint has to remember */
    removed: (at: ClusterTime | undefined): Removed | undefined => (at === undefined ? undefined : removals.since(at)),

    /**
     * @param more the next batch, if there may be one at once: where orders are restored, they are looked up many at a
     * time
     * @returns what is to be published, batch by batch
     */
    async gather (
      first: ChangeBatch<Buffer>,
      more: () => Promise<ChangeBatch<Buffer> | undefined>
    ): Promise<InsertedBatch[]> {
      const sorted = [sort(first)]
      if (!sorted[0]!.doubtful) {
        return sorted.map(({ inserted, ...batch }) => ({ ...batch, inserted: inserted.map(({ event }) => event) }))
      }
      for (let events = first.events.length; events < GATHERED_MAX; events += sorted.at(-1)!.inserted.length) {
        const batch = await more()
        if (batch === undefined || batch.events.length === 0) break
        sorted.push(sort(batch))
      }
      const left = await settle(
        sorted.flatMap(({ inserted }) => inserted.filter(({ doubtful }) => doubtful).map(({ id }) => id))
      )
      const seen = new Set<string>()
      return sorted.map(({ inserted, ...batch }) => ({
        ...batch,
        inserted: inserted
          .filter(({ id, doubtful }) => {
            const again = doubtful && (left.has(id) || seen.has(id))
            seen.add(id)
            return !again
          })
          .map(({ event }) => event)
      }))
    }
  }
}
