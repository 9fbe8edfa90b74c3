import { AggregatorRegistry } from 'prom-client'
import type { MetricJson } from './channel.ts'

/** Their zero at the start of a process is no news: what an ended one had counted stays counted. */
const CUMULATIVE = ['counter', 'histogram']
/** An idle primary would water their averages down. */
const WORKERS_ONLY = /^nodejs_eventloop_lag/
/** The oldest process is the service; prom-client would omit it. */
const START_TIME = 'process_start_time_seconds'

/**
 * Many processes' metrics as one service's. How values of one name become one is said where the metric is made, as its
 * `aggregator`; most are sums.
 *
 * A worker that ended takes nothing back. Its last known counts are kept, as Prometheus takes a smaller count for a
 * restart at zero and would count the rest twice. What it counted after the last scrape is lost.
 * @param ofPrimary the metric that the primary has for all of them: while it drains they are still ready
 */
export function createWorkersMetrics (ofPrimary: string) {
  const last = new Map<number, MetricJson[]>()
  let ended: MetricJson[] = []

  const cumulative = (metrics: MetricJson[]): MetricJson[] =>
    metrics.filter(({ type }) => CUMULATIVE.includes(String(type)))

  return {
    /** @param answers of the workers that could be asked, by number; of the others the counts of last time are taken */
    async merge (primary: MetricJson[], answers: Map<number, MetricJson[]>): Promise<string> {
      for (const [worker, metrics] of answers) last.set(worker, cumulative(metrics))
      const silent = [...last].filter(([worker]) => !answers.has(worker)).map(([, metrics]) => metrics)
      const theirs = [...answers.values()].map((metrics) => metrics.filter(({ name }) => name !== ofPrimary))
      const all = [primary.filter(({ name }) => !WORKERS_ONLY.test(name)), ...theirs, ...silent, ended]
      return await AggregatorRegistry.aggregate(all.map((metrics) => metrics.map(withAggregator))).metrics()
    },

    /** The worker's process ended. */
    ended (worker: number): void {
      const metrics = last.get(worker)
      if (metrics === undefined) return
      last.delete(worker)
      ended = AggregatorRegistry.aggregate([ended, metrics]).getMetricsAsArray() as unknown as MetricJson[]
    }
  }
}

function withAggregator (metric: MetricJson): MetricJson {
  return metric.name === START_TIME ? { ...metric, aggregator: 'min' } : metric
}
