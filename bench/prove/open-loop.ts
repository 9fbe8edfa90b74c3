import { createClient, newOrder } from './client.ts'

const CONNECTIONS = 256
const TICK_MS = 2

export interface Phase {
  name: string
  /** ms of each answer, from when its request was due. */
  latencies: number[]
  failed: number
  /** What the first failure was. */
  failure: string
}

export type OpenLoop = ReturnType<typeof startOpenLoop>

/**
 * A load that doesn't wait for answers: each request is due at its time whatever became of those before it, and its latency
 * counts from then. So a stall shows in all the requests that fell into it.
 */
export function startOpenLoop ({ url, postsPerSecond, getsPerSecond, first }: { url: string, postsPerSecond: number, getsPerSecond: number, first: string }) {
  const client = createClient(url, CONNECTIONS)
  const created = new Map<string, string>()
  const ids: string[] = []
  const pending = new Set<Promise<void>>()
  const phases: Phase[] = []
  const start = performance.now()
  let [posts, gets] = [0, 0]
  let phase: Phase
  begin(first)

  function begin (name: string): void {
    phase = { name, latencies: [], failed: 0, failure: '' }
    phases.push(phase)
  }

  async function post (due: number, mine: Phase): Promise<void> {
    const { status, body } = await client.send('POST', '/orders', newOrder(posts))
    mine.latencies.push(performance.now() - due)
    if (status !== 201) return fail(mine, `POST ${status} ${body}`)
    const { _id } = JSON.parse(body)
    created.set(_id, body)
    ids.push(_id)
  }

  async function read (due: number, mine: Phase): Promise<void> {
    const id = ids[Math.floor(Math.random() * ids.length)]!
    const { status, body } = await client.send('GET', `/orders/${id}`)
    mine.latencies.push(performance.now() - due)
    if (status !== 200 || body !== created.get(id)) fail(mine, `GET ${status} ${body}`)
  }

  function fail (mine: Phase, what: string): void {
    mine.failed++
    if (mine.failure === '') mine.failure = what
  }

  function track (request: Promise<void>): void {
    pending.add(request)
    request.finally(() => pending.delete(request))
  }

  const ticking = setInterval(() => {
    const now = performance.now()
    for (let due = start + posts / postsPerSecond * 1000; due <= now; due = start + ++posts / postsPerSecond * 1000) track(post(due, phase))
    for (let due = start + gets / getsPerSecond * 1000; due <= now; due = start + ++gets / getsPerSecond * 1000) {
      if (ids.length > 0) track(read(due, phase))
    }
  }, TICK_MS)

  return {
    created,
    phases,
    begin,
    async stop (): Promise<void> {
      clearInterval(ticking)
      await Promise.all(pending)
      client.close()
    }
  }
}

export function percentile (values: number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN
}
