import { LRUCache } from 'lru-cache'
import type { Fetched } from '../kafka/fetch.ts'
import { behind, encodePosition, isAtOrAfter, type Position } from './position.ts'
import { feedEvents, idLine, type FeedEvent } from './server-sent.ts'

/** What one client is handed at once. */
export const CHUNK_BYTES = 65_536
/** What was handed out last: most clients are at the same place and want all of it. */
const TAKEN_MAX = 8

interface RecentEvent extends FeedEvent {
  /** After it, as this process read them. */
  position: string
  id: Buffer
}

/** What a client is handed. */
interface Taken {
  chunk: Buffer
  /** The number of the event that follows. */
  next: number
  /** The place after it, by its text. */
  position: string
}

export type RecentEvents = ReturnType<typeof createRecentEvents>

/**
 * The newest events of the topic as this process read them, numbered from 0 on: all clients are served from here, so
 * that one who is slow costs no memory.
 * @param bytesMax older ones are forgotten beyond it
 */
export function createRecentEvents (start: Position, bytesMax: number) {
  /** What comes next in each partition. */
  const position = [...start]
  /** What is held begins there. */
  const oldest = [...start]
  const events: RecentEvent[] = []
  let first = 0
  let bytes = 0
  const joined = new LRUCache<number, Taken>({ max: TAKEN_MAX })

  function add (fetched: Fetched): void {
    // Of partitions that were added since, it may be the last that comes first.
    for (let each = position.length; each <= fetched.partition; each++) position[each] = oldest[each] = 0
    for (const event of feedEvents(fetched)) {
      position[event.partition] = event.next
      const text = encodePosition(position)
      const id = Buffer.from(idLine(text))
      events.push({ ...event, id, position: text })
      bytes += sizeOf(events.at(-1)!)
    }
    position[fetched.partition] = fetched.next
    let forgotten = 0
    while (bytes > bytesMax) {
      const event = events[forgotten++]!
      oldest[event.partition] = event.next
      bytes -= sizeOf(event)
    }
    events.splice(0, forgotten)
    first += forgotten
    joined.clear()
  }

  /** From one event on, with the ids of this process. @param at one that is held */
  function take (at: number, userId: string | undefined): Taken {
    const known = userId === undefined ? joined.get(at) : undefined
    if (known !== undefined) return known
    const pieces: Buffer[] = []
    let length = 0
    let index = at - first
    for (; index < events.length && length < CHUNK_BYTES; index++) {
      const event = events[index]!
      if (userId !== undefined && event.userId !== userId) continue
      pieces.push(event.id, event.text)
      length += event.id.length + event.text.length
    }
    const taken = {
      chunk: Buffer.concat(pieces, length), next: first + index, position: events[index - 1]!.position
    }
    if (userId === undefined) joined.set(at, taken)
    return taken
  }

  return {
    add,
    take,
    /** One of them. */
    at: (number: number): FeedEvent => events[number - first]!,
    /** Whether all that comes after a place is held, or is still to come. */
    covers: (place: Position): boolean => isAtOrAfter(place, oldest),
    /** The partitions in which it isn't. */
    lacks: (place: Position): number[] => behind(place, oldest),
    get position (): Position { return position },
    /** Whether it is one of the older ones, and will be forgotten when as much comes again. */
    isOld: (number: number): boolean => bytes > bytesMax / 2 && number < first + events.length / 2,
    /** The number of the oldest event that is held, and the one of the next. */
    get first (): number { return first },
    get end (): number { return first + events.length }
  }
}

function sizeOf ({ id, text, position }: RecentEvent): number {
  return id.length + text.length + position.length
}
