import { setTimeout as delay } from 'node:timers/promises'
import type { Holding, Lease } from './lease.ts'
import type { Logger } from './log.ts'
import { createLoop } from './loop.ts'

/* The dull loop around a relay: get the lease, lead as long as it lasts, and after an error begin again from the start. */

/** A partition that has just got another leader is used again after some 100 ms. */
const RETRY_MS_FIRST = 50
const RETRY_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

export interface TermsOptions {
  lease: Lease
  /** Resolves when `signal` aborts or a new term is wanted. @param failures how many terms before this one got nowhere */
  lead: (signal: AbortSignal, failures: number) => Promise<void>
  holding: () => Holding
  /** A term is over. @returns whether it got anywhere */
  ended: () => boolean
  /** In one line why a term ended, and what to do. */
  explain: (error: Error) => string
  log: Logger
}

/** A Kafka that is away for an hour is one fact, not one for each try; and one that was just started needs a second try. */
function createComplaints (log: Logger, explain: TermsOptions['explain']) {
  let complainedAt = -Infinity
  return function complain (error: Error, failures: number): void {
    log.debug({ err: error }, 'the relay stopped')
    if (failures < 2 || performance.now() - complainedAt < COMPLAIN_MS) return
    complainedAt = performance.now()
    log.warn({ reason: explain(error) }, 'the relay tries again; until it succeeds events wait in MongoDB')
  }
}

export function createTerms ({ lease, lead, holding, ended, explain, log }: TermsOptions) {
  const complain = createComplaints(log, explain)

  async function run (stopping: AbortSignal): Promise<void> {
    let failures = 0
    while (!stopping.aborted) {
      let error: Error | undefined
      await term(stopping, failures).catch((reason) => { error = reason })
      const progressed = ended()
      failures = error === undefined ? 0 : progressed ? 1 : failures + 1
      if (error === undefined) continue
      complain(error, failures)
      await delay(Math.min(RETRY_MS_FIRST * 2 ** failures, RETRY_MS_MAX), undefined, { signal: stopping }).catch(() => {})
    }
  }

  /** One leadership, from getting the lease to losing it. */
  async function term (stopping: AbortSignal, failures: number): Promise<void> {
    const until = await lease.acquire(stopping)
    if (until === undefined) return
    const over = new AbortController()
    const signal = AbortSignal.any([over.signal, stopping])
    const held = lease.hold(until, signal, holding).finally(() => over.abort())
    let inOrder = false
    try {
      await lead(signal, failures)
      inOrder = true
    } finally {
      over.abort()
      await held
      await lease.release(holding().position, inOrder)
    }
  }

  return createLoop(run)
}
