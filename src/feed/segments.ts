import type { FeedEvent } from './server-sent.ts'

/** A part of a partition without gaps. */
export interface Segment {
  partition: number
  /** The offsets at which it begins, and after which it ends. */
  from: number
  next: number
  events: FeedEvent[]
}

/** What an event or a segment takes in addition to its text. */
const OVERHEAD_BYTES = 256

/**
 * The newest segments.
 * @param bytesMax older ones are dropped beyond it; the newest one is always kept
 */
export function createSegments (bytesMax: number) {
  const held = new Map<number, Segment[]>()
  const oldestFirst: { partition: number, bytes: number }[] = []
  let bytes = 0

  function find (partition: number, offset: number): Segment | undefined {
    return held.get(partition)?.find(({ from, next }) => from <= offset && offset < next)
  }

  function add (segment: Segment): void {
    const { partition } = segment
    const own = segment.events.reduce((sum, { text }) => sum + text.length + OVERHEAD_BYTES, OVERHEAD_BYTES)
    held.set(partition, [...held.get(partition) ?? [], segment])
    oldestFirst.push({ partition, bytes: own })
    bytes += own
    while (bytes > bytesMax && oldestFirst.length > 1) {
      const oldest = oldestFirst.shift()!
      held.get(oldest.partition)!.shift()
      bytes -= oldest.bytes
    }
  }

  return { find, add }
}
