import type { ClusterTime } from '../../mongo/change-event.ts'
import type { Removed } from '../checkpoint/checkpoint.ts'
import { isOrderId, msOf } from '../../encoding/order-id.ts'
import { MARGIN_MS } from '../reconciliation/absence.ts'

/*
 * An insert in the oplog is not always a new order. Somebody who restores a dump inserts all orders again, and a fix by
 * delete and insert one of them; each had its event long ago, and a second one takes the quantities off the stock a
 * second time.
 *
 * So an order is looked up on the topic first if it can't have been posted just now: it was inserted more than an hour
 * after the time in its id (a POST takes 10 s, the rest is for clocks that differ), or it was deleted, or its
 * collection dropped, within that hour. The relay follows deletions for that; what it remembers of them goes along in
 * its checkpoint.
 */

const MARGIN_SECONDS = MARGIN_MS / 1000
/** More deletions than this are remembered as "any order from before". 27 bytes each, in each checkpoint. */
const REMOVED_MAX = 200
/** An order that was posted while its collection was dropped may have an id of a clock that is ahead. */
const AHEAD_SECONDS = 10

export type Removals = ReturnType<typeof createRemovals>

/** What was removed from the collection not long ago. */
export function createRemovals ({ ids = [], before }: Partial<Removed> = {}) {
  const deleted = new Set(ids)
  let droppedAt = before ?? -Infinity

  return {
    deleted (id: string, { t }: ClusterTime): void {
      deleted.add(id)
      if (deleted.size <= REMOVED_MAX) return
      deleted.clear()
      this.dropped({ t, i: 0 })
    },

    dropped ({ t }: ClusterTime): void {
      droppedAt = Math.max(droppedAt, t + AHEAD_SECONDS)
    },

    /** Whether an order may have been in the collection before. */
    mayBeAgain ({ id, at }: { id: string, at: ClusterTime }): boolean {
      if (!isOrderId(id)) return false // no order has such an id
      const seconds = msOf(id) / 1000
      return seconds < at.t - MARGIN_SECONDS || seconds <= droppedAt || deleted.has(id)
    },

    /**
     * Forgets what is so old that an insert shows by its id alone that it comes late.
     * @returns what has to be remembered
     */
    since ({ t }: ClusterTime): Removed | undefined {
      for (const id of deleted) if (msOf(id) / 1000 < t - MARGIN_SECONDS) deleted.delete(id)
      if (droppedAt < t - MARGIN_SECONDS) droppedAt = -Infinity
      if (deleted.size === 0 && droppedAt === -Infinity) return undefined
      return { ids: [...deleted], ...(droppedAt === -Infinity ? {} : { before: droppedAt }) }
    }
  }
}
