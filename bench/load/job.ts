/** What the generator is asked to send. */
export interface Job {
  port: number
  connections: number
  pace: Pace
  requests: Requests
}

/**
 * Closed loop: each connection sends its next request when it has the answer to its last, for `ms` or until `count` are
 * sent. Open loop: `perSecond` requests are due each second, whatever became of those before them. Either ends early
 * when it is asked to.
 */
export type Pace = { ms: number } | { count: number } | { perSecond: number, ms: number }

export type Requests =
  | { kind: 'posts' }
  /** In the order of `ids`, or, without `inTurn`, at random. */
  | { kind: 'gets', ids: string[], inTurn?: boolean }
  | { kind: 'mixed', ids: string[], postShare: number }
  | { kind: 'list' }

export interface JobResult {
  /** From the first request to the last answer. */
  ms: number
  answers: number
  /** How many bytes of bodies came. */
  bytes: number
  /** Of whole answers: from when the request was sent, in an open loop from when it was due. */
  latencyMs: Percentiles
  firstByteMs: Percentiles
  /** Ids in the 201s, and when each was here, in ms since 1970. */
  created: string[]
  createdAt: Float64Array
  /** What went wrong, as "3 × GET 500". */
  failures: string[]
  /** Of the generator itself. */
  cpuSeconds: number
}

export interface Percentiles { p50: number, p99: number, max: number }

export function percentiles (values: number[]): Percentiles {
  const sorted = Float64Array.from(values).sort()
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
