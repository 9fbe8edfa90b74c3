import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { FeedFull, FeedPositionGone, FeedUnavailable } from '../errors.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import { check } from './check.ts'
import { readFeed, type FeedClient } from './client.ts'
import { startFollowing, type Following } from './following.ts'
import type { Position } from './position.ts'
import type { RecentEvents } from './recent-events.ts'
import { streamOf } from './stream.ts'

/** Who loses its connection comes back, and finds what it missed. */
const LINGER_MS = 60_000
const HEARTBEAT_MS = 15_000
/** Under load each client is handed what has come in so long at once. */
const GATHER_MS = 50
/** For which a client that is behind may take nothing. */
const STALLED_MS = 5_000
/** For which reading waits for clients that are behind. */
const WAIT_MS = 1_000
const WAIT_POLL_MS = 10
const RECENT_BYTES_MAX = 4 * 1024 * 1024
const CLOSE_MS_MAX = 500
const COMPLAIN_MS = 60_000

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
  const complaints = createThrottle(COMPLAIN_MS)
  let places = 0
  let following: Following | undefined
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
    if (places >= clientsMax) {
      observe.shed('feed')
      throw new FeedFull()
    }
    places++
    clearTimeout(lingering)
    try {
      const mine = following ??= follow()
      const recent = await canRead(mine.recent)
      const { history } = mine
      if (after !== undefined) await canRead(check(after, recent, history))
      if (closed || following !== mine) throw new FeedUnavailable()
      const client: FeedClient = { at: undefined, wroteAt: performance.now(), waits: false, ended: false, wake () {} }
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
    places--
    if (places === 0 && !closed) lingering = setTimeout(stopFollowing, lingerMs).unref()
  }

  function end (client: FeedClient): void {
    client.ended = true
    client.wake()
  }

  function follow (): Following {
    const mine = startFollowing({
      kafka,
      topic,
      log,
      complaints,
      metadataMs,
      recentBytesMax,
      onFetched: handOut,
      onEnd (error) {
        if (following !== mine) return
        following = undefined
        for (const stream of clients.values()) stream.destroy(error)
      }
    })
    return mine
  }

  /** @throws FeedUnavailable, and says so in the log */
  async function canRead<T> (reading: Promise<T>): Promise<T> {
    try {
      return await reading
    } catch (cause) {
      if (cause instanceof FeedPositionGone) throw cause
      if (!closed && complaints.allows('requests')) {
        log.warn({ reason: (cause as Error).message }, "the live feed can't read Kafka: requests for it are refused")
      }
      throw new FeedUnavailable({ cause })
    }
  }

  /**
   * Reading waits while most clients are behind, as in a burst: a client that reads history costs as much as all others
   * together. It doesn't wait for a few clients, which would slow down all the others.
   */
  async function handOut (recent: RecentEvents): Promise<void> {
    gathering ??= setTimeout(() => {
      gathering = undefined
      wakeAll()
    }, GATHER_MS)
    const since = performance.now()
    while (performance.now() - since < WAIT_MS && areMostBehind(recent)) await delay(WAIT_POLL_MS)
    cutStalled(recent)
  }

  function areMostBehind (recent: RecentEvents): boolean {
    const live = [...clients.keys()].filter((client) => client.at !== undefined && !isBlocked(client, WAIT_MS))
    return live.filter(({ at }) => recent.isOld(at!)).length > live.length / 2
  }

  /** A client behind the events in memory reads Kafka at its own pace. One that takes nothing gives up its place. */
  function cutStalled (recent: RecentEvents): void {
    for (const [client, stream] of clients) {
      if (client.at === undefined || client.at >= recent.first || !isBlocked(client, stalledMs)) continue
      observe.feedCut()
      stream.destroy(new Error('a client of the live feed was too slow'))
    }
  }

  function isBlocked ({ waits, wroteAt }: FeedClient, ms: number): boolean {
    return !waits && performance.now() - wroteAt >= ms
  }

  function wakeAll (): void {
    for (const client of clients.keys()) client.wake()
  }

  async function stopFollowing (): Promise<void> {
    const mine = following
    following = undefined
    await mine?.stop()
  }

  /** Ends all streams in order: their clients come again, to another process. */
  async function close (): Promise<void> {
    closed = true
    clearInterval(beat)
    clearTimeout(lingering)
    clearTimeout(gathering)
    for (const client of clients.keys()) end(client)
    const since = performance.now()
    while (clients.size > 0 && performance.now() - since < CLOSE_MS_MAX) await delay(WAIT_POLL_MS)
    for (const stream of clients.values()) stream.destroy()
    await stopFollowing()
  }

  return {
    open,
    close,
    /** Open streams. A stream that is being opened has a place already, but is not counted. */
    get count (): number { return clients.size }
  }
}
