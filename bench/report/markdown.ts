import type { Contestant } from '../measure/contestants.ts'
import type { Measurement } from '../measure/measurement.ts'
import { show } from './numbers.ts'
import { medianOf, ratioTo } from './results.ts'
import type { Results } from '../measure/rounds.ts'
import { judge, TARGETS, type Target } from './targets.ts'

export interface Report {
  results: Results
  measurements: Measurement[]
  contestants: Contestant[]
  /** About the machine and the run. */
  header: string[]
}

/** Columns, besides the figure that is compared, and the words for them. */
const MORE: Record<string, string> = {
  p50Ms: 'p50 ms',
  p99Ms: 'p99 ms',
  maxMs: 'max ms',
  duePerSecond: 'due/s',
  firstByteMs: 'first byte ms',
  totalMs: 'whole list ms',
  rssBeforeMegabytes: 'RSS before, MiB',
  peakRssMegabytes: 'peak RSS, MiB',
  hotP99IdleMs: 'p99 of hot GETs, idle, ms',
  hotP99BesideMs: 'p99 of hot GETs, next to the list, ms',
  allToldAfterMs: 'all events published after, ms',
  startRssMegabytes: 'RSS 3 s after the start, MiB',
  rssMegabytes: 'RSS, MiB',
  cpuSecondsPer1000: 'CPU s per 1,000',
  generatorCores: 'generator, cores'
}

export function tables (report: Report): string {
  return [
    targetTable(report),
    ...report.measurements
      .filter(({ name }) => report.results[name] !== undefined)
      .map((measurement) => figureTable(report, measurement))
  ].join('\n\n')
}

function targetTable ({ results, contestants }: Report): string {
  const titleOf = (name: string): string => contestants.find((contestant) => contestant.name === name)?.name ?? name
  const demand = (target: Target): string => {
    if ('of' in target) {
      return `≥ ${show(target.times)} × ${target.of.length > 1 ? 'the best peer' : titleOf(target.of[0]!)}`
    }
    return 'atMost' in target ? `≤ ${show(target.atMost)} ${target.unit}` : `≥ ${show(target.atLeast)} ${target.unit}`
  }
  return table(['measurement', 'figure', 'demanded', 'reached', ''], TARGETS.map((target) => {
    const { reached, verdict } = judge(target, results)
    return [
      target.measurement.title,
      target.title,
      demand(target),
      `${show(reached)}${'of' in target && reached !== undefined ? ' ×' : ''}`,
      verdict
    ]
  }))
}

function figureTable ({ results, contestants }: Report, { name, title, figure, unit }: Measurement): string {
  const took = contestants.filter((contestant) => results[name]![contestant.name] !== undefined)
  const more = Object.keys(MORE).filter(
    (key) => key !== figure && took.some((contestant) => medianOf(results, name, contestant.name, key) !== undefined)
  )
  const rows = took.map((contestant) => [
    contestant.name,
    show(medianOf(results, name, contestant.name, figure)),
    contestant.kind === 'service' ? '' : show(ratioTo(results, name, 'service', [contestant.name], figure)),
    ...more.map((key) => show(medianOf(results, name, contestant.name, key)))
  ])
  return `### ${title} (\`${name}\`)\n\n${table(['', unit, 'this service / it', ...more.map((key) => MORE[key]!)], rows)}`
}

export function table (head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
