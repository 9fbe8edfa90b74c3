import { setTimeout as delay } from 'node:timers/promises'
import type { Holding, Lease } from '../mongo/lease.ts'
import type { Logger } from '../runtime/logger.ts'
import { createBackgroundTask } from '../runtime/background-task.ts'
import { createThrottle } from '../runtime/throttle.ts'

/*
 * The dull loop around a relay: get the lease, lead as long as it lasts, and after an error begin again from the start.
 */

/** A partition that has just got another leader is used again after some 100 ms. */
const RETRY_MS_FIRST = 50
const RETRY_MS_MAX = 5_000
const COMPLAIN_MS = 60_000

export interface LeadershipOptions {
  lease: Lease
  /**
   * Resolves when `signal` aborts or a new leadership is wanted.
   * @param failures how many before this one got nowhere
   */
  lead: (signal: AbortSignal, failures: number) => Promise<void>
  holding: () => Holding
  /** A leadership is over. @returns whether it got anywhere */
  ended: () => boolean
  /** In one line why a leadership ended, and what to do. */
  explain: (error: Error) => string
  log: Logger
}

/**
 * A Kafka that is away for an hour is one fact, not one for each try; and one that was just started needs a second try.
 */
function createRetryLog (log: Logger, explain: LeadershipOptions['explain']) {
  const complaints = createThrottle(COMPLAIN_MS)
  return function complain (error: Error, failures: number): void {
    log.debug({ err: error }, 'the relay stopped')
    if (failures < 2 || !complaints.allows()) return
    log.warn({ reason: explain(error) }, 'the relay tries again; until it succeeds events wait in MongoDB')
  }
}

export function createLeadership ({ lease, lead, holding, ended, explain, log }: LeadershipOptions) {
  const complain = createRetryLog(log, explain)

  async function run (stopping: AbortSignal): Promise<void> {
    let failures = 0
    while (!stopping.aborted) {
      let error: Error | undefined
      await leadOnce(stopping, failures).catch((reason) => { error = reason })
      const progressed = ended()
      failures = error === undefined ? 0 : progressed ? 1 : failures + 1
      if (error === undefined) continue
      complain(error, failures)
      await delay(Math.min(RETRY_MS_FIRST * 2 ** failures, RETRY_MS_MAX), undefined, { signal: stopping }).catch(
        () => {}
      )
    }
  }

  /** One leadership, from getting the lease to losing it. */
  async function leadOnce (stopping: AbortSignal, failures: number): Promise<void> {
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

  return createBackgroundTask(run)
}
