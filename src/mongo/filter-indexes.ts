import { setTimeout as delay } from 'node:timers/promises'
import type { Db, RunCommandOptions } from 'mongodb'
import { FILTER_INDEXES, type OrderFilter } from '../models.ts'
import type { Logger } from '../runtime/logger.ts'
import { passesWithTime } from './reasons.ts'
import { COLLECTION } from './start.ts'

const RETRY_MS = 5_000
/** On a large collection it takes as long as it takes. */
const WITHOUT_TIMEOUT = { socketTimeoutMS: 0 }

/**
 * Makes the indexes that pages are filtered by, if they aren't there. Until then such a page is refused, so nothing
 * waits for it: a replica that is started to switch a filter on serves everything else meanwhile.
 * @param signal ends the retries
 */
export async function createFilterIndexes ({ db, filters, log, signal }: {
  db: Db, filters: readonly OrderFilter[], log: Logger, signal: AbortSignal
}): Promise<void> {
  for (const filter of filters) {
    const { key, name } = FILTER_INDEXES[filter]
    const command = { createIndexes: COLLECTION, indexes: [{ key, name }], writeConcern: { w: 'majority' } }
    while (!signal.aborted) {
      try {
        await db.command(command, WITHOUT_TIMEOUT as RunCommandOptions)
        break
      } catch (error) {
        if (!passesWithTime(error)) {
          log.error(
            { reason: (error as Error).message, index: name },
            `lists can't be filtered by ${filter} until there is an index: db.${COLLECTION}.createIndex(${JSON.stringify(key)}, {name: '${name}'})`
          )
          break
        }
      }
      await delay(RETRY_MS, undefined, { signal, ref: false }).catch(() => {})
    }
  }
}
