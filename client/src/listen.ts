import { isAxiosError, type AxiosInstance } from 'axios'
import { createParser } from 'eventsource-parser'
import type { Order } from './generated/types.gen.ts'

export interface ListenQuery {
  /** The `id` after which to go on. Without it what is published from now on comes. */
  after?: string
  userId?: string
}

export interface ListenOptions {
  /** Ends it. */
  signal?: AbortSignal
  headers?: Record<string, string>
}

export interface PublishedOrder {
  /** To go on after it, at any time and with any replica. */
  id: string
  order: Order
}

const RETRY_MS = 2_000
const ID_LINE = /^id: (.+)$/m
/** The service says something every 15 s. */
const SILENCE_MS_MAX = 45_000

/**
 * Orders as they are published, each once. A connection that is lost, or isn't to be had for now (503), is made again
 * where it was.
 * @throws Axios' error for any other answer, such as FEED_POSITION_GONE
 */
export async function * listen (
  http: AxiosInstance,
  { after, userId }: ListenQuery,
  { signal, headers }: ListenOptions
): AsyncGenerator<PublishedOrder, void> {
  const isEnded = (): boolean => signal?.aborted === true
  let id = after
  while (!isEnded()) {
    const silence = new AbortController()
    let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX)
    const arrived: PublishedOrder[] = []
    const parser = createParser({
      onEvent: (event) => arrived.push({ id: event.id!, order: JSON.parse(event.data).payload })
    })
    try {
      const { data } = await http.get<AsyncIterable<Uint8Array>>('/orders/stream', {
        params: { userId },
        headers: { ...headers, ...(id !== undefined && { 'last-event-id': id }) },
        responseType: 'stream',
        timeout: 0,
        signal: signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]),
        'axios-retry': { retries: 0 }
      })
      const decoder = new TextDecoder()
      let text = ''
      for await (const chunk of data) {
        clearTimeout(timer)
        timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX)
        const blocks = (text + decoder.decode(chunk, { stream: true })).split('\n\n')
        text = blocks.pop()!
        for (const block of blocks) {
          // The parser reports an id only with data, and the opening and heartbeats have none.
          id = ID_LINE.exec(block)?.[1] ?? id
          parser.feed(`${block}\n\n`)
          yield * arrived.splice(0)
        }
      }
    } catch (error) {
      if (isEnded()) return
      await throwIfFinal(error)
    } finally {
      clearTimeout(timer)
      silence.abort()
    }
    await pause(signal)
  }
}

/** An answer that another attempt would not change. */
async function throwIfFinal (error: unknown): Promise<void> {
  if (!isAxiosError(error) || error.response === undefined || error.response.status === 503) return
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of error.response.data as AsyncIterable<Uint8Array>) {
    text += decoder.decode(chunk, { stream: true })
  }
  try {
    error.response.data = JSON.parse(text)
  } catch {
    error.response.data = text
  }
  throw error
}

async function pause (signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, RETRY_MS)
    signal?.addEventListener('abort', done)
  })
}
