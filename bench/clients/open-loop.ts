import { createClient, newOrder } from './client.ts'
import { startPace } from './pace.ts'

const CONNECTIONS = 256

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
 * A load that doesn't wait for answers: each request is due at its time whatever became of those before it, and its
 * latency counts from then. So a stall shows in all the requests that fell into it.
 */
export function startOpenLoop ({
  url,
  postsPerSecond,
  getsPerSecond = 0,
  first
}: {
  url: string
  postsPerSecond: number
  getsPerSecond?: number
  first: string
}) {
  const client = createClient(url, CONNECTIONS)
  const created = new Map<string, string>()
  const ids: string[] = []
  const pending = new Set<Promise<void>>()
  const phases: Phase[] = []
  let phase: Phase
  begin(first)

  function begin (name: string): void {
    phase = { name, latencies: [], failed: 0, failure: '' }
    phases.push(phase)
  }

  async function post (n: number, due: number, mine: Phase): Promise<void> {
    const { status, body } = await client.send('POST', '/orders', newOrder(n))
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

  const stops = [
    startPace(postsPerSecond, (n, due) => track(post(n, due, phase))),
    startPace(getsPerSecond, (_n, due) => {
      if (ids.length > 0) track(read(due, phase))
    })
  ]

  return {
    created,
    phases,
    begin,
    async stop (): Promise<void> {
      for (const stop of stops) stop()
      await Promise.all(pending)
      client.close()
    }
  }
}

export function percentile (values: number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN
}
