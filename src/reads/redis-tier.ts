import type { Redis } from 'ioredis'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import { fromBytes, type OrderJson } from '../encoding/order-json.ts'
import { createRedisMarks } from './redis-marks.ts'

/*
 * The cache tier that all replicas share. It may only make things faster: Redis away, hung, flushed or refusing is a
 * miss, never an error.
 *
 * A hung Redis costs the requests that are waiting when it hangs one ANSWER_MS_MAX and no others: the first failure
 * opens the breaker, and only the probe in the background, never a request, finds out that Redis is back.
 *
 * An order fixed by hand in MongoDB is overwritten here by a marker instead of deleted: a reader that fetched the order
 * just before the fix cannot put the old one back, as it writes with NX. What could not be marked while Redis was away
 * is marked before Redis is used again.
 */

/** Far above a healthy answer (0.2 ms), and all that a request may lose when Redis hangs. */
export const ANSWER_MS_MAX = 50
/** No request waits for it. */
const WRITE_MS_MAX = 500
const PROBE_MS = 500
const COMPLAIN_MS = 60_000
const MARKER = ''
/**
 * Longer than any order can take from MongoDB to here: what is older than half of it isn't written, as this process may
 * have stood still.
 */
const MARKER_SECONDS = 30
const FILL_AGE_MS_MAX = MARKER_SECONDS * 1000 / 2
/**
 * Orders to be written are collected for so long: a command for each few of them would wake Redis more often than it
 * has to work.
 */
const FILL_MS = 10
/** In one pipeline, for which the event loop is blocked: some 30 µs each. */
const PIPELINE_MAX = 200

export type RedisTier = ReturnType<typeof createRedisTier>

/** @param prefix of all keys, which no other installation may have */
export function createRedisTier ({
  redis,
  prefix,
  ttlSeconds,
  log
}: {
  redis: Redis
  prefix: string
  ttlSeconds: number
  log: Logger
}) {
  let usable = false
  let trustedFrom = Infinity
  let closed = false
  let probing: NodeJS.Timeout | undefined
  const complaints = createThrottle(COMPLAIN_MS)
  /** Since it was last said, be it of the first time or after a complaint. */
  let saidUsed = false
  let fills: { id: string, json: OrderJson, since: number }[] = []
  const marks = createRedisMarks({ keptMs: (ttlSeconds + MARKER_SECONDS) * 1000, write: mark, onOverflow: distrust })

  /** This connection was made. */
  let connected = false
  /** It refused something, as a replica does: what it acknowledged may be gone once it accepts again. */
  let refused = false

  redis.on('ready', () => {
    connected = true
    marks.doubt()
    probe()
  })
  redis.on('close', () => {
    // ioredis keeps to itself what came before a connection was usable, as of a server with too many clients.
    if (!connected) complain(new Error('it closes each connection at once'))
    connected = false
    fail()
  })
  redis.on('error', complain)

  function complain (error: Error): void {
    if (closed || !complaints.allows()) return
    saidUsed = false
    log.warn({ reason: error.message }, "Redis can't be used: reads are slower until it can")
  }

  function fail (): void {
    // An answer is also late when this process itself was busy: so the first probe goes out at once.
    const probeMs = usable ? 0 : PROBE_MS
    usable = false
    if (closed || probing !== undefined) return
    probing = setTimeout(() => {
      probing = undefined
      probe()
    }, probeMs).unref()
  }

  /** Does all that the service does: one that answers may still refuse to write, or to this user. */
  async function probe (): Promise<void> {
    if (usable || closed) return
    try {
      // Two keys, as a Redis Cluster refuses to read several that are not in the same slot.
      await within(ANSWER_MS_MAX, "Redis' answer", redis.mget(prefix + 'probe', prefix + 'probe-2'))
      await written([['set', prefix + 'probe', MARKER, 'EX', MARKER_SECONDS]])
      if (refused) marks.doubt()
      refused = false
      await marks.writeMissed()
      if (performance.now() < trustedFrom) return fail()
      usable = true
      complaints.reset()
      if (!saidUsed) log.info('Redis is used')
      saidUsed = true
    } catch (error) {
      noteRefusal(error)
      if (redis.status === 'ready') complain(error as Error) // otherwise its connection's error says more
      fail()
    }
  }

  function noteRefusal (error: unknown): void {
    if ((error as Error).name === 'ReplyError') refused = true
  }

  async function mark (ids: string[]): Promise<void> {
    await written(ids.map((id) => ['set', prefix + id, MARKER, 'EX', MARKER_SECONDS]))
  }

  function writeFills (): void {
    const sinceMin = performance.now() - FILL_AGE_MS_MAX
    const commands = fills
      .filter(({ since }) => since > sinceMin)
      .map(({ id, json }) => ['set', prefix + id, json, 'EX', ttlSeconds, 'NX'])
    fills = []
    if (usable && commands.length > 0) written(commands).catch(fail)
  }

  async function written (commands: unknown[][]): Promise<void> {
    for (let at = 0; at < commands.length; at += PIPELINE_MAX) {
      const results = await within(
        WRITE_MS_MAX,
        "Redis' answer",
        redis.pipeline(commands.slice(at, at + PIPELINE_MAX)).exec()
      )
      const [error] = results?.find(([error]) => error !== null) ?? []
      if (error instanceof Error) {
        noteRefusal(error)
        throw error
      }
    }
  }

  /** Invalidations were missed for good: Redis isn't read until all that it holds has expired. */
  function distrust (): void {
    trustedFrom = performance.now() + ttlSeconds * 1000
    fail()
  }

  return {
    get usable (): boolean {
      return usable
    },

    keyOf: (id: string): string => prefix + id,

    /**
     * What is in Redis is known to be right from now on: no invalidation has been missed. Until then Redis isn't read.
     */
    trust (): void {
      if (trustedFrom !== Infinity) return
      trustedFrom = 0
      probe()
    },

    distrust,

    /** @returns for each id the serialised order or undefined; undefined altogether when Redis can't be used */
    async get (ids: string[]): Promise<(OrderJson | undefined)[] | undefined> {
      if (!usable) return undefined
      try {
        const values = await within(ANSWER_MS_MAX, "Redis' answer", redis.mgetBuffer(ids.map((id) => prefix + id)))
        return values.map((value) => (value === null || value.length === 0 ? undefined : fromBytes(value)))
      } catch (error) {
        noteRefusal(error)
        fail()
        return undefined
      }
    },

    /**
     * Best effort, soon; nobody waits for it.
     * @param since when MongoDB was asked for them (performance.now())
     */
    fill (orders: Iterable<[id: string, json: OrderJson]>, since: number): void {
      if (!usable) return
      for (const [id, json] of orders) {
        if (fills.push({ id, json, since }) === 1) setTimeout(writeFills, FILL_MS).unref()
      }
    },

    /** Resolves once Redis has the markers, or is no longer used. */
    async invalidate (ids: string[]): Promise<void> {
      if (!(await marks.write(ids))) fail()
    },

    close (): void {
      closed = true
      usable = false
      clearTimeout(probing)
    }
  }
}
