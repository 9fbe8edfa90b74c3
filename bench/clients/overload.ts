import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { percentile } from './open-loop.ts'

export interface LoadOptions {
  port: number
  /** Of a closed loop: each sends when it is answered. Of an open one: at most so many. */
  connections: number
  seconds: number
  /** Number of the first order. */
  first: number
  /** Orders a second, for an open loop. */
  rate?: number
  /** Of an open loop: each order opens a connection of its own, and so many are sent at once at the start. */
  fresh?: { atOnce: number }
  /** Whoever is turned away waits as long as it is asked to, and up to half as long again. */
  honourRetryAfter: boolean
}

/** Answers are parallel arrays: ms since the start, ms that it took, status. */
export interface LoadResult {
  /** Id and body of each 201. */
  created: [string, string][]
  at: number[]
  ms: number[]
  statuses: number[]
  /** How often each other answer came, by status and code. */
  codes: Map<string, number>
  unanswered: number
  sent: number
}

export async function runLoad (options: LoadOptions): Promise<LoadResult> {
  const worker = new Worker(new URL('./overload-worker.js', import.meta.url), { workerData: options })
  const [result] = await once(worker, 'message') as [LoadResult]
  await worker.terminate()
  return result
}

/** 201s a second while the load lasted, without what was answered after its end. */
export function goodput ({ at, statuses }: LoadResult, seconds: number, fromSeconds = 0): number {
  return (
    at.filter((time, index) => statuses[index] === 201 && time <= seconds * 1000 && time >= fromSeconds * 1000).length /
    (seconds - fromSeconds)
  )
}

export function latency ({ ms, statuses }: LoadResult, status: number, share: number): number {
  return percentile(ms.filter((_ms, index) => statuses[index] === status), share)
}

export function countOf ({ statuses }: LoadResult, status: number): number {
  return statuses.filter((candidate) => candidate === status).length
}
