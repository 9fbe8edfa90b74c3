import { ORDER_PLACED } from '../../schemas/event.ts'
import { receive } from '../events/received-event.ts'
import type { Fetched } from '../kafka/fetch.ts'
import { encodePosition, type Position } from './position.ts'

/* The text of the stream: WHATWG HTML, section 9.2, server-sent events. */

/** An order event on its way to the clients. */
export interface FeedEvent {
  partition: number
  /** The offset after its record. */
  next: number
  userId: string
  /** What follows its id. */
  text: Buffer
}

const RETRY_MS = 2_000
const LINE_BREAK = /[\r\n]/

/** What comes first: how long a client waits before it comes again, and the id if it has had no event by then. */
export function opening (position: Position): Buffer {
  return Buffer.from(`retry: ${RETRY_MS}\n${idLine(encodePosition(position))}\n`)
}

/** A comment, and the place, as a client that gets only some of the events would come back to an old one. */
export function heartbeat (position: Position): Buffer {
  return Buffer.from(`:\n${idLine(encodePosition(position))}\n`)
}

/** @param position after the event */
export function idLine (position: string): string {
  return `id: ${position}\n`
}

/** History that `npm run replay` sent once more, and what is no order event, are none of the feed's. */
export function feedEvents ({ partition, records }: Fetched): FeedEvent[] {
  return records.flatMap((record) => {
    const received = receive(record, partition)
    if (typeof received === 'string' || received.headers.replay !== undefined) return []
    const { event } = received
    const value = String(record.value)
    const data = LINE_BREAK.test(value) ? JSON.stringify(event) : value // ours has none
    const text = Buffer.from(`event: ${ORDER_PLACED}\ndata: ${data}\n\n`)
    return [{ partition, next: Number(record.offset) + 1, userId: event.userId, text }]
  })
}
