import { GET_COLD, GET_HOT, GET_UNIFORM, MIXED } from '../measure/reads.ts'
import { DRAIN, LAG } from '../measure/events.ts'
import { LIST, LIST_MILLION } from '../measure/lists.ts'
import type { Measurement } from '../measure/measurement.ts'
import { POSTS_256, POSTS_64 } from '../measure/posts.ts'
import { IDLE, START } from '../measure/rest.ts'
import { medianOf, ratioTo } from './results.ts'
import type { Results } from '../measure/rounds.ts'

/** What this service is to reach: a figure of its own, or how many times the figure of another, of several the best. */
export type Target = { measurement: Measurement, figure: string, title: string } & (
  | { times: number, of: string[] }
  | { atLeast: number, unit: string }
  | { atMost: number, unit: string })

const PEERS = ['go', 'fastify', 'express']
const perSecond = { figure: 'perSecond', title: 'per second' }

export const TARGETS: Target[] = [
  { ...perSecond, measurement: POSTS_64, times: 4, of: ['go'] },
  { ...perSecond, measurement: POSTS_64, times: 10, of: ['express'] },
  { ...perSecond, measurement: POSTS_256, times: 4.5, of: ['go'] },
  { ...perSecond, measurement: POSTS_256, times: 14, of: ['express'] },
  { ...perSecond, measurement: GET_HOT, times: 1, of: ['constant-metrics'] },
  { ...perSecond, measurement: GET_UNIFORM, times: 0.9, of: ['constant-metrics'] },
  { ...perSecond, measurement: GET_COLD, times: 3, of: ['go'] },
  { ...perSecond, measurement: LIST, times: 1.5, of: ['go'] },
  { measurement: LIST, figure: 'firstByteMs', title: 'first byte', atMost: 5, unit: 'ms' },
  { measurement: LIST_MILLION, figure: 'peakRssMegabytes', title: 'peak RSS', atMost: 200, unit: 'MiB' },
  {
    measurement: LIST_MILLION,
    figure: 'hotP99Times',
    title: 'p99 of the hot GETs, against idle',
    atMost: 3,
    unit: 'times'
  },
  { ...perSecond, measurement: MIXED, times: 3, of: PEERS },
  { measurement: LAG, figure: 'p50Ms', title: 'p50', atMost: 50, unit: 'ms' },
  { measurement: LAG, figure: 'p99Ms', title: 'p99', atMost: 250, unit: 'ms' },
  { measurement: DRAIN, figure: 'perSecond', title: 'per second', atLeast: 15_000, unit: 'events' },
  { measurement: START, figure: 'readyMs', title: 'ready', atMost: 1_500, unit: 'ms' },
  { measurement: IDLE, figure: 'cpuPercent', title: 'CPU', atMost: 2, unit: '% of a core' },
  { measurement: IDLE, figure: 'rssMegabytes', title: 'RSS', atMost: 120, unit: 'MiB' }
]

export interface Verdict { reached: number | undefined, verdict: 'ok' | 'short' | 'not measured' }

export function judge (target: Target, results: Results): Verdict {
  const { measurement: { name }, figure } = target
  const reached =
    'of' in target ? ratioTo(results, name, 'service', target.of, figure) : medianOf(results, name, 'service', figure)
  if (reached === undefined) return { reached, verdict: 'not measured' }
  const isReached =
    'atMost' in target ? reached <= target.atMost : reached >= ('of' in target ? target.times : target.atLeast)
  return { reached, verdict: isReached ? 'ok' : 'short' }
}
