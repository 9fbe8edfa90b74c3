import { Readable } from 'node:stream'
import type { Kafka } from 'kafkajs'
import { FeedFull, FeedPositionGone, FeedUnavailable } from '../errors.ts'
import { followTopic } from '../kafka/topic-follower.ts'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import { readFeed, type FeedClient } from './client.ts'
import { createHistory, type History } from './history.ts'
import { isAtOrAfter, type Position } from './position.ts'
import { createRecentEvents, type RecentEvents } from './recent-events.ts'

const START_MS_MAX = 5_000
/** Who loses its connection comes back, and finds what it missed. */
const LINGER_MS = 60_000
const HEARTBEAT_MS = 15_000
/** Under load each client is handed what has come in so long at once. */
const GATHER_MS = 50
/** For which a client that is behind may take nothing. */
const STALLED_MS = 5_000
const RECENT_BYTES_MAX = 4 * 1024 * 1024

export interface FeedObserver {
  shed: (reason: 'feed') => void
  feedCut: () => void
}

export interface FeedOptions {
  kafka: Kafka
  topic: string
  clientsMax: number
  log: Logger
  observe: FeedObserver
  /** ms without an event after which a client gets a sign of life. */
  heartbeatMs?: number
  /** ms for which the topic is followed after the last client has left. */
  lingerMs?: number
  /** ms for which a client that is behind may take nothing. */
  stalledMs?: number
  /** ms after which it is looked for partitions that were added. */
  metadataMs?: number
  /** Bytes of the newest events that are held. */
  recentBytesMax?: number
}

interface Following {
  recent: RecentEvents
  history: History
  stop: () => Promise<void>
}

export type OrderFeed = ReturnType<typeof createOrderFeed>

/** The order events of the topic for clients over HTTP, as they are committed. It is read while somebody listens. */
export function createOrderFeed ({
  kafka,
  topic,
  clientsMax,
  log,
  observe,
  heartbeatMs = HEARTBEAT_MS,
  lingerMs = LINGER_MS,
  stalledMs = STALLED_MS,
  metadataMs,
  recentBytesMax = RECENT_BYTES_MAX
}: FeedOptions) {
  const clients = new Map<FeedClient, Readable>()
  let count = 0
  let following: Promise<Following> | undefined
  let closed = false
  let lingering: NodeJS.Timeout | undefined
  let gathering: NodeJS.Timeout | undefined
  const beat = setInterval(wakeAll, heartbeatMs / 10).unref()

  /**
   * @param after the place to go on from; undefined for what comes from now on
   * @throws FeedFull, FeedUnavailable, FeedPositionGone
   */
  async function open (after: Position | undefined, userId: string | undefined): Promise<Readable> {
    if (closed) throw new FeedUnavailable()
    if (count >= clientsMax) {
      observe.shed('feed')
      throw new FeedFull()
    }
    count++
    clearTimeout(lingering)
    try {
      const { recent, history } = await follow()
      if (after !== undefined) await check(after, recent, history)
      if (closed) throw new FeedUnavailable()
      const client: FeedClient = { at: undefined, wroteAt: performance.now(), ended: false, wake () {} }
      const stream = streamOf(readFeed({ client, recent, history, after, userId, heartbeatMs }), () => {
        clients.delete(client)
        end(client)
        left()
      })
      clients.set(client, stream)
      return stream
    } catch (error) {
      left()
      throw error
    }
  }

  function left (): void {
    count--
    if (count === 0 && !closed) lingering = setTimeout(stopFollowing, lingerMs).unref()
  }

  function end (client: FeedClient): void {
    client.ended = true
    client.wake()
  }

  async function follow (): Promise<Following> {
    following ??= start()
    const mine = following
    try {
      return await mine
    } catch (cause) {
      if (following === mine) following = undefined
      throw new FeedUnavailable({ cause })
    }
  }

  async function start (): Promise<Following> {
    const stopping = new AbortController()
    const history = createHistory(kafka, topic)
    let fails = false
    let recent: RecentEvents | undefined
    let ended: Promise<void> = Promise.resolve()
    const started = new Promise<RecentEvents>((resolve, reject) => {
      ended = followTopic({
        kafka,
        topic,
        signal: stopping.signal,
        metadataMs,
        onStart (offsets) {
          recent = createRecentEvents(offsets, recentBytesMax)
          resolve(recent)
        },
        onFetched (fetched) {
          if (fails) log.info({ topic }, 'the live feed goes on')
          fails = false
          recent!.add(fetched)
          cutStalled(recent!)
          gathering ??= setTimeout(gathered, GATHER_MS)
        },
        onFailure (error) {
          if (recent === undefined) reject(error)
          else if (!fails) log.warn({ reason: error.message }, "the live feed can't read Kafka: its clients wait, and lose nothing")
          fails = true
        }
      }).catch((error) => {
        log.warn({ reason: error.message }, 'the live feed begins anew: the topic was made anew, or retention was faster')
        following = undefined
        history.close()
        for (const stream of clients.values()) stream.destroy(error)
      })
    })
    const stop = async (): Promise<void> => {
      stopping.abort()
      history.close()
      await ended
    }
    try {
      return { recent: await within(START_MS_MAX, "Kafka's answer", started), history, stop }
    } catch (error) {
      stop()
      throw error
    }
  }

  function gathered (): void {
    gathering = undefined
    wakeAll()
  }

  function wakeAll (): void {
    for (const client of clients.keys()) client.wake()
  }

  /** Who is behind what is held reads it from Kafka at its own pace. Who takes nothing has no use for its place. */
  function cutStalled (recent: RecentEvents): void {
    for (const [client, stream] of clients) {
      if (client.at === undefined || client.at >= recent.first) continue
      if (performance.now() - client.wroteAt < stalledMs) continue
      observe.feedCut()
      stream.destroy(new Error('a client of the live feed was too slow'))
    }
  }

  async function stopFollowing (): Promise<void> {
    const mine = following
    following = undefined
    await mine?.then(({ stop }) => stop(), () => {})
  }

  /** Ends all streams in order: their clients come again, to another process. */
  async function close (): Promise<void> {
    closed = true
    clearInterval(beat)
    clearTimeout(lingering)
    clearTimeout(gathering)
    for (const client of clients.keys()) end(client)
    await stopFollowing()
  }

  return {
    open,
    close,
    get count (): number { return clients.size }
  }
}

/** `Readable.from` would wait for the generator before it says that it was destroyed, and the generator for events. */
function streamOf (chunks: AsyncGenerator<Buffer>, ended: () => void): Readable {
  return new Readable({
    read () {
      chunks.next().then(({ value }) => this.push(value ?? null), (error) => this.destroy(error))
    },
    destroy (error, done) {
      ended()
      chunks.return(undefined).catch(() => {})
      done(error)
    }
  })
}

/** @throws FeedPositionGone for a place that the topic doesn't have any more, or never had; FeedUnavailable */
async function check (after: Position, recent: RecentEvents, history: History): Promise<void> {
  if (after.length <= recent.position.length && recent.covers(after) && isAtOrAfter(recent.position, after)) return
  const { low, high } = await within(START_MS_MAX, "Kafka's answer", history.bounds())
    .catch((cause) => { throw new FeedUnavailable({ cause }) })
  if (after.length > high.length || !isAtOrAfter(after, low) || !isAtOrAfter(high, after)) throw new FeedPositionGone()
}
