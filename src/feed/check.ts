import { setTimeout as delay } from 'node:timers/promises'
import { FeedPositionGone } from '../errors.ts'
import { within } from '../runtime/deadline.ts'
import type { History } from './history.ts'
import { isAtOrAfter, type Position } from './position.ts'
import type { RecentEvents } from './recent-events.ts'

const ANSWER_MS_MAX = 5_000
/** A broker may not know yet of a new partition, or how far one goes, and then nobody's place is gone. */
const TRIES = 5
const AGAIN_MS = 300

/** @throws FeedPositionGone for a place that the topic doesn't have any more, or never had; what Kafka refuses */
export async function check (after: Position, recent: RecentEvents, history: History): Promise<void> {
  if (recent.covers(after) && isWithin(after, recent.position)) return
  for (let tries = 1; ; tries++) {
    const { low, high } = await within(ANSWER_MS_MAX, "Kafka's answer", history.bounds())
    if (!isAtOrAfter(after, low)) throw new FeedPositionGone()
    if (isWithin(after, high)) return
    if (tries === TRIES) throw new FeedPositionGone()
    await delay(AGAIN_MS)
  }
}

function isWithin (place: Position, end: Position): boolean {
  return place.length <= end.length && isAtOrAfter(end, place)
}
