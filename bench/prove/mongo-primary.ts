import { setTimeout as delay } from 'node:timers/promises'
import { check, countViolations } from '../check/checker.ts'
import type { Attempt } from '../clients/operation.ts'
import { startCluster } from '../rig/cluster.ts'
import { collectFacts } from '../check/facts.ts'
import { startLoad } from '../clients/keyed-load.ts'
import { percentile } from '../clients/open-loop.ts'
import { createRandom } from '../clients/random.ts'
import { startReplicas } from '../rig/replicas.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually } from '../rig/service.ts'

const REPLICAS = 2
const TIMES = 3
const POSTS_PER_SECOND = 100
const CALM_MS = 3_000
/** With MongoDB's defaults the others wait for 10 s, and up to 15 % more, before they elect. */
const RECOVERY_MS_MAX = 15_000
const GIVE_UP_MS = 60_000
const SEED = 1
/** What the load calls a 201. */
const SUCCEEDED = new Set(['', 'slow'])

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const cluster = await startCluster(dir, 'default')
  const replicas = await startReplicas({ dir, count: REPLICAS, urls: cluster.urls })
  await replicas.leader()
  const urls = replicas.all.map(({ service }) => service.url)
  const load = startLoad({ urls, perSecond: POSTS_PER_SECOND, random: createRandom(SEED) })

  const electedMs: number[] = []
  const recoveredMs: number[] = []
  for (let n = 1; n <= TIMES; n++) {
    await delay(CALM_MS)
    const primary = await cluster.primary()
    const at = performance.now()
    await primary.part.kill()
    const elected = cluster.primary().then(() => performance.now() - at)
    // The first whose request began when the primary was dead.
    const killedAt = performance.now()
    const since = load.samples.length
    const first = () => load.samples.slice(since).find(({ what, begun }) => SUCCEEDED.has(what) && begun >= killedAt)
    await eventually('a POST that succeeds', GIVE_UP_MS, () => first() !== undefined)
    electedMs.push(await elected)
    recoveredMs.push(first()!.ended - at)
    await primary.part.start()
    await delay(CALM_MS)
    const after = load.samples.filter(({ ended }) => ended >= at)
    const disturbedMs = Math.max(at, ...after.filter(({ ok }) => !ok).map(({ ended }) => ended)) - at
    detail(
      `primary ${n}: SIGKILL, another elected after ${seconds(electedMs.at(-1)!)}, POSTs succeed again after ${seconds(recoveredMs.at(-1)!)}, the last that failed or took more than a second ended after ${seconds(disturbedMs)}: ${kinds(after)}`
    )
  }
  await delay(CALM_MS)
  await load.stop()

  const facts = await collectFacts({
    operations: load.operations,
    mongoUrl: cluster.urls.mongo,
    brokers: cluster.urls.kafka,
    urls
  })
  const findings = check(facts)
  const attempts = facts.operations.flatMap((operation) => operation.attempts)
  const count = (outcome: Attempt['outcome']): number =>
    attempts.filter((attempt) => attempt.outcome === outcome).length
  figure(
    `${POSTS_PER_SECOND} POST/s over ${REPLICAS} replicas, ${TIMES} times another elected after p50 ${seconds(percentile(electedMs, 0.5))}, max ${seconds(percentile(electedMs, 1))}, POSTs succeed again after p50 ${seconds(percentile(recoveredMs, 0.5))}, max ${seconds(percentile(recoveredMs, 1))}`
  )
  figure(
    `${count('created')} × 201, ${count('refused')} said that nothing was stored, ${count('maybe')} without a known outcome; ${facts.stored.length} documents, ${facts.records.length} records`
  )
  expect(
    Math.max(...recoveredMs) <= RECOVERY_MS_MAX,
    `POSTs succeeded again only after ${seconds(Math.max(...recoveredMs))}`
  )
  expect(
    findings.length === 0,
    `${[...countViolations(findings)].map(([violation, times]) => `${times} ${violation}`).join(', ')}, as ${findings[0]?.what}`
  )
}

function kinds (samples: { what: string }[]): string {
  const counts = new Map<string, number>()
  for (const { what } of samples) if (what !== '') counts.set(what, (counts.get(what) ?? 0) + 1)
  return [...counts].map(([what, times]) => `${times} × ${what}`).join(', ') || 'none'
}

function seconds (ms: number): string {
  return `${round(ms / 1000, 1)} s`
}

export default { name: 'primary', title: "MongoDB's primary dies, default elections", run } satisfies Scenario
