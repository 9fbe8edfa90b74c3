import { createClient, newOrder } from '../clients/client.ts'
import type { Follower } from './follower.ts'
import { startPace } from '../clients/pace.ts'
import type { Replica } from '../rig/replicas.ts'
import { eventually } from '../rig/service.ts'

const EVENT_MS_MAX = 30_000

export type PacedOrders = ReturnType<typeof startOrders>

/** Orders at a fixed rate to those replicas that are not about to end. */
export function startOrders (all: Replica[], perSecond: number) {
  const clients = new Map(all.map((replica) => [replica, createClient(replica.service.url, 16)]))
  const used = new Set(all)
  const created = new Map<string, string>()
  const begunAt = new Map<string, number>()
  const answeredAt = new Map<string, number>()
  const failures: string[] = []
  const pending = new Set<Promise<void>>()

  async function post (n: number): Promise<void> {
    const replica = [...used][n % used.size]!
    const begun = performance.now()
    const { status, body } = await clients.get(replica)!.send('POST', '/orders', newOrder(n))
    if (status !== 201) {
      failures.push(`${status} ${body}`)
      return
    }
    const { _id } = JSON.parse(body)
    created.set(_id, body)
    begunAt.set(_id, begun)
    answeredAt.set(_id, performance.now())
  }

  const stop = startPace(perSecond, (n) => {
    const request = post(n)
    pending.add(request)
    request.finally(() => pending.delete(request))
  })

  return {
    created,
    begunAt,
    answeredAt,
    failures,
    with: (replica: Replica): void => { used.add(replica) },
    /** Resolves when no answer of it is outstanding. */
    async without (replica: Replica): Promise<void> {
      used.delete(replica)
      await Promise.all(pending)
    },
    async stop (): Promise<void> {
      stop()
      await Promise.all(pending)
      for (const client of clients.values()) client.close()
    }
  }
}

/** ms on the clock of `performance.now()` when the first event came of an order that was sent after `at`. */
export async function firstEventOf ({ begunAt }: PacedOrders, { seenAt }: Follower, at: number): Promise<number> {
  let seen = Infinity
  await eventually('an event of a new order', EVENT_MS_MAX, () => {
    for (const [id, begun] of begunAt) if (begun >= at) seen = Math.min(seen, seenAt.get(id) ?? Infinity)
    return Number.isFinite(seen)
  })
  return seen
}
