/*
 * How many orders may be in flight, so that none waits for long: as many as were stored within that time at the present
 * pace. A fixed number would be too high for a slow machine and too low for a fast one (Little's law: wait = in flight
 * / throughput).
 */

/** Long enough for several inserts, short against the time in which an overload builds up. */
const WINDOW_MS = 100
/** What one window counts in the pace. A single one may hold a garbage collection or half a batch. */
const WINDOW_SHARE = 0.3

export interface AdmissionOptions {
  waitMsMax: number
  /** Always allowed. */
  itemsMin: number
  /**
   * Never exceeded. Allowed while the pace is unknown: a burst, or an election under a light load, costs nobody an
   * order.
   */
  itemsMax: number
  now?: () => number
}

export function createAdmission ({ waitMsMax, itemsMin, itemsMax, now = () => performance.now() }: AdmissionOptions) {
  let perMs: number | undefined
  let from = now()
  let count = 0

  return {
    /** The service was idle: the pace measured so far reflects demand, not capacity, so it starts over. */
    begin (): void {
      perMs = undefined
      from = now()
      count = 0
    },

    settled (items: number): void {
      count += items
      const passed = now() - from
      if (passed < WINDOW_MS) return
      perMs = perMs === undefined ? count / passed : perMs + WINDOW_SHARE * (count / passed - perMs)
      from += passed
      count = 0
    },

    get itemsMax (): number {
      return perMs === undefined ? itemsMax : Math.min(itemsMax, Math.max(itemsMin, Math.floor(perMs * waitMsMax)))
    }
  }
}
