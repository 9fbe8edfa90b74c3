import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { FeedFull, FeedPositionGone, FeedUnavailable } from '../errors.ts'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import { readFeed, type FeedClient } from './client.ts'
import { startFollowing, type Following } from './following.ts'
import { isAtOrAfter, type Position } from './position.ts'
import type { RecentEvents } from './recent-events.ts'

const CHECK_MS_MAX = 5_000
/** A new leader of a partition may not know yet how far it goes, and then nobody's place is gone. */
const CHECK_TRIES = 5
const CHECK_AGAIN_MS = 300
/** Who loses its connection comes back, and finds what it missed. */
const LINGER_MS = 60_000
const HEARTBEAT_MS = 15_000
/** Under load each client is handed what has come in so long at once. */
const GATHER_MS = 50
/** For which a client that is behind may take nothing. */
const STALLED_MS = 5_000
/** For which the others wait for one that is behind. */
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
      if (after !== undefined) await check(after, { recent, history })
      if (closed) throw new FeedUnavailable()
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
    count--
    if (count === 0 && !closed) lingering = setTimeout(stopFollowing, lingerMs).unref()
  }

  function end (client: FeedClient): void {
    client.ended = true
    client.wake()
  }

  async function follow (): Promise<Following> {
    const mine = following ??= startFollowing({
      kafka, topic, log, metadataMs, recentBytesMax, onFetched: handOut, onEnd: endAll
    })
    try {
      return await mine
    } catch (cause) {
      if (following === mine) following = undefined
      if (complaints.allows()) {
        log.warn({ reason: (cause as Error).message }, "the live feed can't read Kafka: requests for it are refused")
      }
      throw new FeedUnavailable({ cause })
    }
  }

  /** Reading waits for clients that are behind, as each that has to read for itself costs what all together do. */
  async function handOut (recent: RecentEvents): Promise<void> {
    gathering ??= setTimeout(() => {
      gathering = undefined
      wakeAll()
    }, GATHER_MS)
    const since = performance.now()
    while (performance.now() - since < WAIT_MS && isAnyBehind(recent)) await delay(WAIT_POLL_MS)
    cutStalled(recent)
  }

  function isAnyBehind (recent: RecentEvents): boolean {
    return [...clients.keys()].some((client) =>
      client.at !== undefined && recent.isOld(client.at) && !isBlocked(client, WAIT_MS))
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

  function endAll (error: Error): void {
    following = undefined
    for (const stream of clients.values()) stream.destroy(error)
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
    const since = performance.now()
    while (clients.size > 0 && performance.now() - since < CLOSE_MS_MAX) await delay(WAIT_POLL_MS)
    for (const stream of clients.values()) stream.destroy()
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
async function check (after: Position, { recent, history }: Pick<Following, 'recent' | 'history'>): Promise<void> {
  if (after.length <= recent.position.length && recent.covers(after) && isAtOrAfter(recent.position, after)) return
  for (let tries = 1; ; tries++) {
    const { low, high } = await within(CHECK_MS_MAX, "Kafka's answer", history.bounds())
      .catch((cause) => { throw new FeedUnavailable({ cause }) })
    if (after.length > high.length || !isAtOrAfter(after, low)) throw new FeedPositionGone()
    if (isAtOrAfter(high, after)) return
    if (tries === CHECK_TRIES) throw new FeedPositionGone()
    await delay(CHECK_AGAIN_MS)
  }
}
