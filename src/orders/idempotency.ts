import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, ObjectId } from 'mongodb'
import { deadline } from '../runtime/deadline.ts'
import { IdempotencyKeyInUse, IdempotencyKeyReused, StoreUnavailable } from '../errors.ts'
import type { OrderDocument } from '../models.ts'

/*
 * Idempotency-Key: a POST that is sent again finds the order of the first one
 * (draft-ietf-httpapi-idempotency-key-header-07).
 *
 * The key lives in the order's own document under a unique index: to claim it and to create the order is one write,
 * which a crash can't divide, and a look-up before the write, which two requests could both pass, is not needed. An
 * attempt that failed left no document, and so no claim.
 */

/** How long a request waits for a winner whose order isn't durable yet. */
const WINNER_MS_MAX = 5_000
const WINNER_POLL_MS = 20
const WINNER_POLL_MS_MAX = 250
const COMMAND_MS_MAX = 5_000

/** The order that has the key: the document's own if an earlier attempt stored it after all. */
export type Holder = { _id: ObjectId, mine: boolean }

export function createIdempotency ({
  collection,
  keptHours
}: {
  collection: Collection<OrderDocument>
  keptHours: number
}) {
  return {
    /**
     * Finds the order that holds the key that `document` was refused for.
     * @param until performance.now() at which it must be known
     * @returns undefined if nobody has it any more, and the order can be tried again
     * @throws IdempotencyKeyReused (422) another order came with the same key, IdempotencyKeyInUse (409) it isn't
     * decided yet, StoreUnavailable (503)
     */
    async holder ({ _id, userId, idempotency }: OrderDocument, until: number): Promise<Holder | undefined> {
      const { key, fingerprint } = idempotency!
      const filter = { userId, 'idempotency.key': key }
      const end = Math.min(until, performance.now() + WINNER_MS_MAX)
      for (let pollMs = WINNER_POLL_MS; performance.now() < end; pollMs = Math.min(2 * pollMs, WINNER_POLL_MS_MAX)) {
        const held = await read(filter, 'majority')
        if (held !== null) {
          if (held._id.equals(_id)) return { _id, mine: true }
          if (held.createdAt.getTime() < Date.now() - keptHours * 3_600_000) return await release(held._id)
          if (!Buffer.from(held.idempotency!.fingerprint.buffer).equals(fingerprint.buffer)) {
            throw new IdempotencyKeyReused()
          }
          return { _id: held._id, mine: false }
        }
        if ((await read(filter, 'local')) === null) return undefined
        await delay(pollMs)
      }
      throw new IdempotencyKeyInUse()
    }
  }

  async function read (filter: object, readConcern: 'majority' | 'local') {
    try {
      return await collection.findOne(filter, {
        projection: { idempotency: 1, createdAt: 1 },
        readConcern,
        readPreference: 'primary',
        ...deadline(COMMAND_MS_MAX)
      })
    } catch (cause) {
      throw new StoreUnavailable({ cause })
    }
  }

  /** Its time is over; the order stays. */
  async function release (_id: ObjectId): Promise<undefined> {
    try {
      await collection.updateOne(
        { _id },
        { $unset: { idempotency: '' } },
        { writeConcern: { w: 'majority' }, ...deadline(COMMAND_MS_MAX) }
      )
    } catch (cause) {
      throw new StoreUnavailable({ cause })
    }
  }
}
