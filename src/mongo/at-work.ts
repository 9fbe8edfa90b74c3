import type { Db, Document } from 'mongodb'
import { deadline, within } from '../runtime/deadline.ts'

const PROBE_MS_MAX = 5_000

/**
 * Waits for a command as long as the server says that it is at work on it. A change stream that goes on after an outage
 * may have hours of other writes to look through before its first answer; a limit of any length would begin the same
 * search again and again, until the oplog has overwritten it (powersync-ja/powersync-service#251).
 * @param comment of the command, by which the server is asked for it
 * @param msMax ms until the server is asked, and then each time again
 * @param giveUp ends the command once nobody waits for it any more
 * @throws Error once the server does not answer, or does not know the command
 */
export async function whileAtWork<T> ({ db, comment, msMax, command, giveUp }: {
  db: Db, comment: string, msMax: number, command: Promise<T>, giveUp: () => void
}): Promise<T> {
  let settled = false
  const onSettled = (): void => { settled = true }
  command.then(onSettled, onSettled)
  for (;;) {
    try {
      return await within(msMax, "MongoDB's answer", command)
    } catch (error) {
      if (settled) return await command
      if (await isAtWork(db, comment)) continue
      giveUp()
      throw error
    }
  }
}

/** A user may always ask for operations of their own. */
async function isAtWork (db: Db, comment: string): Promise<boolean> {
  const pipeline: Document[] = [
    { $currentOp: {} },
    { $match: { 'command.comment': comment, active: true } },
    { $limit: 1 },
    { $project: { _id: 1 } }
  ]
  const admin = db.client.db('admin')
  const answer = await admin
    .command({ aggregate: 1, pipeline, cursor: {} }, deadline(PROBE_MS_MAX))
    .catch(() => undefined)
  return answer?.cursor.firstBatch.length > 0
}
