import type { Collection } from 'mongodb'
import { deadline } from '../../runtime/deadline.ts'

/** Why an order's event is held back. */
export type HeldReason = 'oversized' | 'unknowable'

export interface HeldDocument { _id: string, oversized?: string[], unknowable?: string[] }

const ANSWER_MS_MAX = 5_000
/** 24 bytes each, and a document has 16 MB. */
const HELD_MAX = 100_000

export type HeldOrders = ReturnType<typeof createHeldOrders>

/**
 * Orders whose events the relay has passed over for the time being. An order is noted here before the checkpoint passes
 * over it, and taken out after its event was committed; so after a crash it may be noted though it was not passed over,
 * or was published by now, and publishing it begins with a look on the topic.
 */
export function createHeldOrders ({ collection, topic }: { collection: Collection<HeldDocument>, topic: string }) {
  const _id = `held:${topic}`
  const majority = { writeConcern: { w: 'majority' as const } }

  async function read (): Promise<Record<HeldReason, string[]>> {
    const found = await collection.findOne(
      { _id },
      { readConcern: 'majority', readPreference: 'primary', ...deadline(ANSWER_MS_MAX) }
    )
    return { oversized: found?.oversized ?? [], unknowable: found?.unknowable ?? [] }
  }

  return {
    /**
     * @returns how many are held back now
     * @throws Error if so many are held back that another fault is more likely: the relay waits then
     */
    async add (reason: HeldReason, ids: string[]): Promise<number> {
      const before = (await read())[reason].length
      if (before + ids.length > HELD_MAX) {
        throw new Error(
          `${before} orders of ${topic} are held back as ${reason}, and ${ids.length} more would be too many: see docs/guides/restore.md`
        )
      }
      const now = await collection.findOneAndUpdate({ _id }, { $addToSet: { [reason]: { $each: ids } } },
        { upsert: true, returnDocument: 'after', ...majority, ...deadline(ANSWER_MS_MAX) })
      return now?.[reason]?.length ?? 0
    },

    read,

    async remove (reason: HeldReason, ids: string[]): Promise<void> {
      await collection.updateOne(
        { _id },
        { $pull: { [reason]: { $in: ids } } },
        { ...majority, ...deadline(ANSWER_MS_MAX) }
      )
    }
  }
}
