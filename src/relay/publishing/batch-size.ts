/*
 * How many events a transaction takes: many for the sake of Kafka and of a backlog, few where a line or a quota is
 * slow.
 */

export const BATCH_EVENTS_MAX = 1_000
/** After a leadership that got nowhere. */
const BATCH_EVENTS_FIRST = 50
/** A transaction that takes longer should be smaller: it is given up after 15 s, and all of it comes again. */
const SLOW_MS = 5_000
const QUICK_MS = 1_500

/** @param careful the last transaction failed, maybe because it was too large for its deadline */
export function createBatchSize (careful: boolean) {
  let size = careful ? BATCH_EVENTS_FIRST : BATCH_EVENTS_MAX
  return {
    get size (): number { return size },

    took (events: number, ms: number): void {
      if (ms > SLOW_MS) size = Math.max(1, Math.floor(Math.min(size, events) / 2))
      else if (ms < QUICK_MS && events >= size) size = Math.min(BATCH_EVENTS_MAX, size * 2)
    }
  }
}
