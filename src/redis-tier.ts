import type { Redis } from 'ioredis'
import { fromBytes, type OrderJson } from './order-json.ts'

/*
 * The cache tier that all replicas share. It may only make things faster: Redis away, hung or flushed is a miss, never an error.
 *
 * A hung Redis costs the requests that are waiting when it hangs one COMMAND_TIMEOUT_MS and no others: the first failure opens
 * the breaker, and only the probe in the background, never a request, finds out that Redis is back.
 *
 * An order fixed by hand in MongoDB is overwritten here by a marker instead of deleted: a reader that fetched the order just
 * before the fix cannot put the old one back, as it writes with NX. What could not be invalidated while Redis was away is
 * invalidated before Redis is used again.
 */

/** Far above a healthy answer (0.2 ms), and all that a request may lose when Redis hangs. */
export const COMMAND_TIMEOUT_MS = 50
const PROBE_MS = 500
const MARKER = ''
/** Longer than any order can take from MongoDB to here: what is older than half of it isn't written, as this process may have stood still. */
const MARKER_SECONDS = 30
const FILL_AGE_MS_MAX = MARKER_SECONDS * 1000 / 2
/** Orders to be written are collected for so long: a command for each few of them would wake Redis more often than it has to work. */
const FILL_MS = 10
/** Ids kept for later while Redis is away. Beyond it Redis waits until everything in it has expired. */
const MISSED_MAX = 100_000

export type RedisTier = ReturnType<typeof createRedisTier>

export function createRedisTier ({ redis, prefix, ttlSeconds }: { redis: Redis, prefix: string, ttlSeconds: number }) {
  let usable = false
  let trustedFrom = Infinity
  let closed = false
  let probing: NodeJS.Timeout | undefined
  const missed = new Set<string>()
  let fills: { id: string, json: OrderJson, since: number }[] = []

  redis.on('ready', probe)
  redis.on('close', fail)

  function fail (): void {
    // A command is also late when this process itself was busy: so the first probe goes out at once.
    const probeMs = usable ? 0 : PROBE_MS
    usable = false
    if (closed || probing !== undefined) return
    probing = setTimeout(() => {
      probing = undefined
      probe()
    }, probeMs).unref()
  }

  async function probe (): Promise<void> {
    if (usable || closed) return
    try {
      await redis.ping()
      // One that is missed meanwhile stays for the next probe.
      for (let ids = [...missed]; ids.length > 0; ids = [...missed]) {
        await mark(ids)
        for (const id of ids) missed.delete(id)
      }
      if (Date.now() < trustedFrom) fail()
      else usable = true
    } catch {
      fail()
    }
  }

  async function mark (ids: string[]): Promise<void> {
    await pipelined(ids.map((id) => ['set', prefix + id, MARKER, 'EX', MARKER_SECONDS]))
  }

  function writeFills (): void {
    const sinceMin = performance.now() - FILL_AGE_MS_MAX
    const commands = fills.filter(({ since }) => since > sinceMin).map(({ id, json }) => ['set', prefix + id, json, 'EX', ttlSeconds, 'NX'])
    fills = []
    if (usable) pipelined(commands).catch(fail)
  }

  async function pipelined (commands: unknown[][]): Promise<void> {
    if (commands.length === 0) return
    const results = await redis.pipeline(commands).exec()
    const [error] = results?.find(([error]) => error !== null) ?? []
    if (error instanceof Error) throw error
  }

  return {
    get usable (): boolean { return usable },

    /** What is in Redis is known to be right from now on: no invalidation has been missed. Until then Redis isn't read. */
    trust (): void {
      if (trustedFrom !== Infinity) return
      trustedFrom = 0
      probe()
    },

    /** Invalidations were missed for good: Redis isn't read until all that it holds has expired. */
    distrust (): void {
      trustedFrom = Date.now() + ttlSeconds * 1000
      fail()
    },

    /** @returns for each id the serialised order or undefined; undefined altogether when Redis can't be used */
    async get (ids: string[]): Promise<(OrderJson | undefined)[] | undefined> {
      if (!usable) return undefined
      try {
        const values = await redis.mgetBuffer(ids.map((id) => prefix + id))
        return values.map((value) => value === null || value.length === 0 ? undefined : fromBytes(value))
      } catch {
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
      for (const [id, json] of orders) if (fills.push({ id, json, since }) === 1) setTimeout(writeFills, FILL_MS).unref()
    },

    async invalidate (ids: string[]): Promise<void> {
      try {
        await mark(ids)
      } catch {
        for (const id of ids) missed.add(id)
        if (missed.size > MISSED_MAX) {
          missed.clear()
          this.distrust()
        }
        fail()
      }
    },

    close (): void {
      closed = true
      usable = false
      clearTimeout(probing)
    }
  }
}
