import { get, type ClientRequest } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

export interface FeedEvent { id: string, event: string, data: string }

export type FeedListener = ReturnType<typeof startFeedListener>

export interface FeedListenerOptions {
  /** ms before it comes again. Without it, it doesn't. */
  retryMs?: number
  /** Where it begins, by a header, as an EventSource does when it comes again. */
  lastEventId?: string
  /** Takes the events, which are then not kept. */
  onEvent?: (event: FeedEvent) => void
}

/**
 * A client of the live feed that reads as an EventSource does (WHATWG HTML, section 9.2): what is broken off in the
 * midst of an event is forgotten, and it goes on after the last id.
 * @param next the address of each of its connections
 */
export function startFeedListener (next: () => string, { retryMs, lastEventId, onEvent }: FeedListenerOptions = {}) {
  const events: FeedEvent[] = []
  /** What was no 200. */
  const refused: { status: number, text: string }[] = []
  let lastId = lastEventId
  let connections = 0
  let stopped = false
  let request: ClientRequest | undefined

  async function run (): Promise<void> {
    for (;;) {
      await connectOnce()
      if (stopped || retryMs === undefined) return
      await delay(retryMs)
      if (stopped) return
    }
  }

  async function connectOnce (): Promise<void> {
    await new Promise<void>((resolve) => {
      const headers = { accept: 'text/event-stream', ...(lastId === undefined ? {} : { 'last-event-id': lastId }) }
      request = get(next(), { agent: false, headers }, (answer) => {
        answer.setEncoding('utf8')
        let text = ''
        if (answer.statusCode === 200) connections++
        answer.on('data', (chunk: string) => {
          text += chunk
          if (answer.statusCode !== 200) return
          const blocks = text.split('\n\n')
          text = blocks.pop()!
          blocks.forEach(take)
        })
        answer.on('error', () => {})
        answer.on('close', () => {
          if (answer.statusCode !== 200) refused.push({ status: answer.statusCode!, text })
          resolve()
        })
      })
      request.on('error', () => resolve())
    })
  }

  function take (block: string): void {
    const fields: Partial<FeedEvent> = {}
    for (const line of block.split('\n')) {
      const [, name, value] = /^(\w*): ?(.*)$/.exec(line) ?? []
      if (name === 'id' || name === 'event' || name === 'data') fields[name] = value!
    }
    if (fields.id !== undefined) lastId = fields.id
    if (fields.data === undefined) return
    const event = { id: lastId!, event: fields.event!, data: fields.data }
    if (onEvent === undefined) events.push(event)
    else onEvent(event)
  }

  const ended = run()
  return {
    events,
    refused,
    get lastId (): string | undefined { return lastId },
    get connections (): number { return connections },
    orderIds: (): string[] => events.map(({ data }) => (JSON.parse(data) as { orderId: string }).orderId),
    async stop (): Promise<void> {
      stopped = true
      request?.destroy()
      await ended
    }
  }
}
