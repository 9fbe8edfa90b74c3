import { availableParallelism, cpus, totalmem } from 'node:os'
import { countViolations } from '../check/checker.ts'
import { percentile } from '../clients/open-loop.ts'
import { round } from '../check/findings.ts'
import { seconds, type Campaign, type Recovery, type Result } from './campaign.ts'
import type { Fault } from './harm.ts'

const EXAMPLES_MAX = 5

/** As Markdown, for docs/records/campaigns.md. */
export function report (
  { seed, replicas, brokers, perSecond, faults }: Campaign,
  { facts, findings, recoveries, ms }: Result
): string {
  const attempts = facts.operations.flatMap((operation) => operation.attempts)
  const of = (outcome: string): string => round(attempts.filter((attempt) => attempt.outcome === outcome).length)
  const acknowledged = new Set(attempts.flatMap((attempt) => (attempt.outcome === 'created' ? [attempt.id] : []))).size
  return `Seed ${seed}, ${faults.length} faults one after the other, ${replicas} replicas, ${brokers === 1 ? 'one broker' : `${brokers} brokers`}, ${perSecond} POST/s, ${round(ms / 1000)} s on ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), ${round(totalmem() / 2 ** 30)} GiB, Node ${process.version}

| what | count |
|---|---|
| orders sent | ${round(facts.operations.length)} (${round(facts.operations.filter(({ key }) => key !== undefined).length)} with an Idempotency-Key) |
| requests | ${round(attempts.length)}: ${of('created')} × 201, ${of('maybe')} without a known outcome, ${of('refused')} refused |
| orders with a 201 | ${round(acknowledged)} |
| orders stored | ${round(facts.stored.length)} |
| committed records | ${round(facts.records.length)} |
| violations | ${describe(findings)} |

| fault | times | lasts | first 201 after, p50 / max | last POST disturbed, p50 / max | first event after, p50 / max | all well after, p50 / max |
|---|---|---|---|---|---|---|
${[...new Set(faults)]
  .map((fault) =>
    row(
      fault,
      recoveries.filter((recovery) => recovery.fault === fault.name)
    )
  )
  .join('\n')}
${findings.length === 0 ? '' : `\n${examples(findings)}\n`}`
}

function row ({ name, title, holdMs }: Fault, recoveries: Recovery[]): string {
  const times = (key: 'postsMs' | 'disturbedMs' | 'eventsMs' | 'allMs'): string => {
    const values = recoveries.map((recovery) => recovery[key])
    return `${seconds(percentile(values, 0.5))} / ${seconds(percentile(values, 1))}`
  }
  return `| \`${name}\` ${title} | ${recoveries.length} | ${seconds(holdMs)} | ${times('postsMs')} | ${times('disturbedMs')} | ${times('eventsMs')} | ${times('allMs')} |`
}

function describe (findings: Result['findings']): string {
  return [...countViolations(findings)].map(([violation, count]) => `${count} ${violation}`).join(', ') || 'none'
}

function examples (findings: Result['findings']): string {
  return [...countViolations(findings).keys()]
    .flatMap((violation) => findings.filter((finding) => finding.violation === violation).slice(0, EXAMPLES_MAX))
    .map(({ violation, what }) => `- ${violation}: ${what}`)
    .join('\n')
}
