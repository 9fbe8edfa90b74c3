import type { History } from './history.ts'
import { decodePosition, encodePosition, isAtOrAfter, type Position } from './position.ts'
import { CHUNK_BYTES, type RecentEvents } from './recent-events.ts'
import { heartbeat, idLine, opening, type FeedEvent } from './server-sent.ts'

/** One that listens. */
export interface FeedClient {
  /** The number of the next recent event, once it has all before it; undefined until then. */
  at: number | undefined
  /** When it was handed something, on performance.now(). */
  wroteAt: number
  /** For events; otherwise they wait until it has taken what it was handed. */
  waits: boolean
  ended: boolean
  /** Ends its waiting. */
  wake: () => void
}

export interface ReadFeedOptions {
  client: FeedClient
  recent: RecentEvents
  history: History
  /** Where it was; undefined for one that is new, and gets what comes from now on. */
  after: Position | undefined
  userId: string | undefined
  heartbeatMs: number
}

/** The text for one client, as fast as it takes it: first what it missed, then what comes. */
export async function * readFeed ({
  client, recent, history, after, userId, heartbeatMs
}: ReadFeedOptions): AsyncGenerator<Buffer> {
  /** Of its own, as long as it is not where this process is. */
  let position = [...after ?? recent.position]
  if (after === undefined) client.at = recent.end

  yield * said(opening(position))
  while (!client.ended) {
    yield * catchUp()
    if (!client.ended) yield * keepUp()
  }

  /** Until more has come than is held while the client took what it had. */
  async function * keepUp (): AsyncGenerator<Buffer> {
    let last: string | undefined
    while (!client.ended && client.at! >= recent.first) {
      if (client.at! < recent.end) {
        const taken = recent.take(client.at!, userId)
        client.at = taken.next
        last = taken.position
        yield * said(taken.chunk)
      } else if (isQuiet()) yield * said(heartbeat(recent.position))
      else await change()
    }
    if (last !== undefined) position = decodePosition(last)!
    client.at = undefined
  }

  /** Until it has all that this process has read. */
  async function * catchUp (): AsyncGenerator<Buffer> {
    while (!client.ended && client.at === undefined) {
      yield * readHistory()
      let next = recent.first
      // As it waits for the client, what comes next may be forgotten meanwhile: then it begins again.
      while (!client.ended && recent.covers(position) && next >= recent.first) {
        const events: FeedEvent[] = []
        for (let bytes = 0; next < recent.end && bytes < CHUNK_BYTES; next++) {
          const event = recent.at(next)
          events.push(event)
          bytes += event.text.length
        }
        yield * told(events)
        if (next < recent.end) continue
        recent.position.forEach((offset, partition) => {
          position[partition] = Math.max(position[partition] ?? 0, offset)
        })
        if (isAtOrAfter(recent.position, position)) {
          client.at = next
          return
        }
        // Another process was quicker to read what this client has had.
        if (isQuiet()) yield * said(heartbeat(position))
        else await change()
      }
    }
  }

  /** Until this process holds what follows. */
  async function * readHistory (): AsyncGenerator<Buffer> {
    const reader = { at: position, lacks: () => recent.lacks(position), wake: () => client.wake() }
    try {
      while (!client.ended && !recent.covers(position)) {
        const segment = history.take(reader)
        if (segment !== undefined) {
          yield * told(segment.events)
          position[segment.partition] = segment.next
        }
        // Also between segments: a client with a filter may get nothing from any of them.
        if (isQuiet()) yield * said(heartbeat(position))
        else if (segment === undefined) await change()
      }
    } finally {
      history.leave(reader)
    }
  }

  /** What the client has not had, with ids of its own. */
  async function * told (events: FeedEvent[]): AsyncGenerator<Buffer> {
    let pieces: Buffer[] = []
    let bytes = 0
    for (const event of events) {
      if (event.next <= (position[event.partition] ?? 0)) continue
      position[event.partition] = event.next
      if (userId !== undefined && event.userId !== userId) continue
      const id = Buffer.from(idLine(encodePosition(position)))
      pieces.push(id, event.text)
      bytes += id.length + event.text.length
      if (bytes < CHUNK_BYTES) continue
      yield * said(Buffer.concat(pieces))
      pieces = []
      bytes = 0
    }
    yield * said(Buffer.concat(pieces))
  }

  async function * said (chunk: Buffer): AsyncGenerator<Buffer> {
    if (chunk.length === 0) return
    client.wroteAt = performance.now()
    yield chunk
  }

  function isQuiet (): boolean {
    return performance.now() - client.wroteAt >= heartbeatMs
  }

  async function change (): Promise<void> {
    client.waits = true
    await new Promise<void>((resolve) => { client.wake = resolve })
    client.waits = false
  }
}
