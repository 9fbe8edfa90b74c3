import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, ObjectId } from 'mongodb'
import { deadline } from './deadline.ts'
import { IdempotencyKeyInUse, IdempotencyKeyReused, StoreUnavailable } from './errors.ts'
import type { OrderDocument } from './models.ts'

/*
 * Idempotency-Key: a POST that is sent again finds the order of the first one (draft-ietf-httpapi-idempotency-key-header-07).
 *
 * The key lives in the order's own document under a unique index: to claim it and to create the order is one write, which a
 * crash can't divide, and a look-up before the write, which two requests could both pass, is not needed. An attempt that failed
 * left no document, and so no claim.
 */

/** The partial index holds keyed orders only: others cost it nothing. */
export const IDEMPOTENCY_INDEX = {
  key: { userId: 1, 'idempotency.key': 1 } as const,
  options: { name: 'idempotency', unique: true, partialFilterExpression: { 'idempotency.key': { $exists: true } } }
}

/** How long a request waits for a winner whose order isn't durable yet. */
const WINNER_MS_MAX = 5_000
const WINNER_POLL_MS = 20
const READ_MS_MAX = 5_000

/** The order that has the key: the document's own if an earlier attempt stored it after all. */
export type Holder = { _id: ObjectId, mine: boolean }

export function createIdempotency ({ collection, keptHours }: { collection: Collection<OrderDocument>, keptHours: number }) {
  return {
    /**
     * Finds out who has the key that `document` was refused for.
     * @returns undefined if nobody has it any more, and the order can be tried again
     * @throws IdempotencyKeyReused (422) another order came with the same key, IdempotencyKeyInUse (409) it isn't decided yet
     */
    async holder ({ _id, userId, idempotency }: OrderDocument): Promise<Holder | undefined> {
      const { key, fingerprint } = idempotency!
      const filter = { userId, 'idempotency.key': key }
      const end = performance.now() + WINNER_MS_MAX
      do {
        const held = await read(filter, 'majority')
        if (held !== null) {
          if (held._id.equals(_id)) return { _id, mine: true }
          if (held.createdAt.getTime() < Date.now() - keptHours * 3_600_000) return await release(held._id)
          if (!Buffer.from(held.idempotency!.fingerprint.buffer).equals(fingerprint.buffer)) throw new IdempotencyKeyReused()
          return { _id: held._id, mine: false }
        }
        if (await read(filter, 'local') === null) return undefined
        await delay(WINNER_POLL_MS)
      } while (performance.now() < end)
      throw new IdempotencyKeyInUse()
    }
  }

  async function read (filter: object, readConcern: 'majority' | 'local') {
    try {
      return await collection.findOne(filter, { projection: { idempotency: 1, createdAt: 1 }, readConcern, ...deadline(READ_MS_MAX) })
    } catch (cause) {
      throw new StoreUnavailable({ cause })
    }
  }

  /** Its time is over; the order stays. */
  async function release (_id: ObjectId): Promise<undefined> {
    await collection.updateOne({ _id }, { $unset: { idempotency: '' } }, { writeConcern: { w: 'majority' } })
  }
}
