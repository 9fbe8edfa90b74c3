import { setTimeout as delay } from 'node:timers/promises'
import type { Lease } from './lease.ts'
import type { Logger } from './log.ts'
import { createLoop } from './loop.ts'
import type { Checkpoint } from './relay-topics.ts'

/* The dull loop around a relay: get the lease, lead as long as it lasts, and after an error begin again from the start. */

const RETRY_MS_FIRST = 250
const RETRY_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

export interface TermsOptions {
  lease: Lease
  /** Resolves when `signal` aborts or there is nothing to lead. */
  lead: (signal: AbortSignal) => Promise<void>
  position: () => Checkpoint | undefined
  /** A term is over. @returns whether it got anywhere */
  ended: () => boolean
  log: Logger
}

/** A Kafka that is away for an hour is one fact, not one for each try; and one that was just started needs a second try. */
function createComplaints (log: Logger) {
  let complainedAt = -Infinity
  return function complain (error: Error, failures: number): void {
    log.debug({ err: error }, 'the relay stopped')
    if (failures < 2 || performance.now() - complainedAt < COMPLAIN_MS) return
    complainedAt = performance.now()
    log.warn({ reason: error.message }, 'the relay tries again; until it succeeds events wait in MongoDB')
  }
}

export function createTerms ({ lease, lead, position, ended, log }: TermsOptions) {
  const complain = createComplaints(log)

  async function run (stopping: AbortSignal): Promise<void> {
    let failures = 0
    while (!stopping.aborted) {
      let error: Error | undefined
      await term(stopping).catch((reason) => { error = reason })
      const progressed = ended()
      failures = error === undefined ? 0 : progressed ? 1 : failures + 1
      if (error !== undefined) complain(error, failures)
      await delay(Math.min(RETRY_MS_FIRST * 2 ** failures, RETRY_MS_MAX), undefined, { signal: stopping }).catch(() => {})
    }
  }

  /** One leadership, from getting the lease to losing it. */
  async function term (stopping: AbortSignal): Promise<void> {
    const until = await lease.acquire(stopping)
    if (until === undefined) return
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, stopping])
    const held = lease.hold(until, signal, position).finally(() => over.abort())
    try {
      await lead(signal)
    } finally {
      over.abort()
      await held
      await lease.release(position())
    }
  }

  return createLoop(run)
}
