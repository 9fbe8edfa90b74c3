/*
 * How many orders may be in flight, so that none waits for long: as many as were stored within that time at the present pace.
 * A fixed number would be too high for a slow machine and too low for a fast one (Little's law: wait = in flight / throughput).
 */

/** Long enough for several inserts, short against the time in which an overload builds up. */
const WINDOW_MS = 100
/** What one window counts in the pace. A single one may hold a garbage collection or half a batch. */
const WINDOW_SHARE = 0.3
/** Nothing was stored for so long: that is an election or a hung MongoDB and says nothing about how fast it stores. */
const STALL_MS = 500

export interface PaceOptions {
  waitMsMax: number
  /** Always allowed. */
  itemsMin: number
  /** Never exceeded; also allowed while the pace is unknown, as in a stall, so that a short one costs nobody an order. */
  itemsMax: number
  now?: () => number
}

export function createPace ({ waitMsMax, itemsMin, itemsMax, now = () => performance.now() }: PaceOptions) {
  let perMs: number | undefined
  let from = now()
  let last = from
  let count = 0

  function begin (time: number): void {
    perMs = undefined
    from = last = time
    count = 0
  }

  return {
    /** The first item after none was in flight: a pace that was set by those who asked says nothing of what can be done. */
    begin: () => begin(now()),

    settled (items: number): void {
      const time = now()
      if (time - last > STALL_MS) return begin(time)
      last = time
      count += items
      if (time - from < WINDOW_MS) return
      const measured = count / (time - from)
      perMs = perMs === undefined ? measured : perMs + WINDOW_SHARE * (measured - perMs)
      from = time
      count = 0
    },

    get itemsMax (): number {
      if (perMs === undefined || now() - last > STALL_MS) return itemsMax
      return Math.min(itemsMax, Math.max(itemsMin, Math.floor(perMs * waitMsMax)))
    }
  }
}
