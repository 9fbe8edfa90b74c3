import { setTimeout as delay } from 'node:timers/promises'
import { createClient, newOrder } from './client.ts'
import type { Attempt, Operation } from './operation.ts'
import { startPace } from './pace.ts'
import type { Random } from './random.ts'

const CONNECTIONS = 128
/**
 * The gateway's Axios gives up after some seconds and tries again; that may be while the first try is still at work.
 */
const KEYED_ANSWER_MS_MAX = 4_000
/** Above the time in which the service must know an order's fate. */
const ANSWER_MS_MAX = 15_000
const TRIES_MAX = 15
const RETRY_MS_FIRST = 200
const RETRY_MS_MAX = 2_000

const KEYED_SHARE = 0.5
/** Of those with a key: sent twice at the same time, to two replicas. */
const DOUBLED_SHARE = 0.1
/** Whoever waits for longer than this was disturbed. */
export const SLOW_MS = 1_000

/** One request, for the times of recovery. */
export interface Sample { begun: number, ended: number, ok: boolean, what: string }

export type Load = ReturnType<typeof startLoad>

/**
 * Orders at a fixed rate, each to the next replica in turn; those with an Idempotency-Key are sent again until they are
 * answered.
 */
export function startLoad ({ urls, perSecond, random }: { urls: string[], perSecond: number, random: Random }) {
  const clients = urls.map((url) => ({
    keyed: createClient(url, CONNECTIONS, KEYED_ANSWER_MS_MAX),
    plain: createClient(url, CONNECTIONS, ANSWER_MS_MAX)
  }))
  const operations: Operation[] = []
  const samples: Sample[] = []
  /** When the first request began that asked for each order. */
  const begunAt = new Map<string, number>()
  const firstBegun: number[] = []
  const pending = new Set<Promise<unknown>>()
  let turn = 0

  function newOperation (key?: string): { operation: Operation, body: string } {
    const n = operations.length
    const body = newOrder(n)
    const { userId, products } = JSON.parse(body)
    const operation: Operation = {
      n,
      userId,
      products,
      key: key === undefined ? undefined : `${key}-${n}`,
      attempts: []
    }
    operations.push(operation)
    return { operation, body }
  }

  async function attempt ({ n, key, attempts }: Operation, body: string, replica: number): Promise<Attempt> {
    const client = clients[replica]![key === undefined ? 'plain' : 'keyed']
    const begun = performance.now()
    firstBegun[n] ??= begun
    const answer = await client.send('POST', '/orders', body, key === undefined ? {} : { 'idempotency-key': key })
    const ended = performance.now()
    const result = outcomeOf(answer.status, answer.body)
    attempts.push(result)
    if (result.outcome === 'created' && !begunAt.has(result.id)) begunAt.set(result.id, firstBegun[n])
    const slow = ended - begun >= SLOW_MS
    const what =
      result.outcome === 'created' ? (slow ? 'slow' : '') : `${result.status} ${result.code}`.replace(/ \d+ ms$/, '')
    samples.push({ begun, ended, ok: result.outcome === 'created' && !slow, what })
    return result
  }

  async function retrying (operation: Operation, body: string): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const result = await attempt(operation, body, turn++ % urls.length)
      if (result.outcome === 'created' || (result.outcome === 'refused' && result.status === 422)) return
      await delay(Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** tries))
    }
  }

  function send (): void {
    const keyed = random.chance(KEYED_SHARE)
    const doubled = random.chance(DOUBLED_SHARE)
    const { operation, body } = newOperation(keyed ? 'key' : undefined)
    if (!keyed) return track(attempt(operation, body, turn++ % urls.length))
    track(retrying(operation, body))
    if (doubled) track(retrying(operation, body))
  }

  function track (work: Promise<unknown>): void {
    pending.add(work)
    work.finally(() => pending.delete(work))
  }

  const stopPace = startPace(perSecond, send)

  return {
    operations,
    samples,
    begunAt,
    /** One order through one replica. @returns its id, if it was created */
    async through (replica: number): Promise<string | undefined> {
      const { operation, body } = newOperation()
      const result = await attempt(operation, body, replica)
      return result.outcome === 'created' ? result.id : undefined
    },
    /** Sends no more and waits for all answers. */
    async stop (): Promise<void> {
      stopPace()
      await Promise.all(pending)
      for (const { keyed, plain } of clients) {
        keyed.close()
        plain.close()
      }
    }
  }
}

/** What the README says: these two mean that nothing was stored, and so does a request that was wrong. */
const NOTHING_STORED = new Set(['NOT_STORED', 'OVERLOADED'])
const UNDECIDED = 409

function outcomeOf (status: number, body: string): Attempt {
  if (status === 201) return { outcome: 'created', id: JSON.parse(body)._id, body }
  const code = codeOf(body)
  const refused =
    (status >= 400 && status < 500 && status !== UNDECIDED) || (status === 503 && NOTHING_STORED.has(code))
  return { outcome: refused ? 'refused' : 'maybe', status, code }
}

function codeOf (body: string): string {
  try {
    return String(JSON.parse(body).code)
  } catch {
    return body // what the connection broke with
  }
}
