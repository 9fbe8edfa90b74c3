/**
 * `npm run bench [-- --quick] [-- --rounds N] [-- --seconds N] [-- --only NAME,NAME] [-- --write] [-- --before DIR]
 * [-- --with NAME=VALUE]`
 * measures this service next to others that do the same, in turns, with the same MongoDB, Redis and Kafka, and says
 * which of its targets it reaches. Everything is on this machine and under `.local/bench`; `--write` also writes
 * docs/records/benchmark.md and its .svg. With `--before` it is measured next to the build in another checkout of it,
 * without the others; with `--with`, next to itself with a setting. Only ratios mean something elsewhere.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { CONTESTANTS, SERVICE, serviceBefore, serviceWith } from './measure/contestants.ts'
import { DRAIN, LAG } from './measure/events.ts'
import { buildGo } from './measure/go.ts'
import { LIST, LIST_MILLION } from './measure/lists.ts'
import type { Measurement } from './measure/measurement.ts'
import { OPEN_LOOP, POSTS_256, POSTS_64 } from './measure/posts.ts'
import { GET_COLD, GET_HOT, GET_UNIFORM, IDS_COLD, MIXED } from './measure/reads.ts'
import { IDLE, START } from './measure/rest.ts'
import { runRounds, type Results } from './measure/rounds.ts'
import { prepareStage } from './measure/stage.ts'
import { optionsFrom, type Options } from './options.ts'
import { endAll, endPartsIn } from './rig/parts.ts'
import { chart } from './report/chart.ts'
import { document } from './report/document.ts'
import { tables, type Report } from './report/markdown.ts'
import { medianOf } from './report/results.ts'

const MEASUREMENTS: Measurement[] = [
  POSTS_64,
  POSTS_256,
  OPEN_LOOP,
  MIXED,
  GET_HOT,
  GET_UNIFORM,
  GET_COLD,
  IDS_COLD,
  LIST,
  LIST_MILLION,
  LAG,
  DRAIN,
  START,
  IDLE
]
const DIR = resolve('.local', 'bench')
const PARTS = join(DIR, 'parts')
/**
 * As long as V8 and Kafka's JVM take to compile most of what matters: POSTs grow by a tenth between the second and the
 * tenth second.
 */
const WARM_UP_SECONDS = 4
const WARM_UP_SECONDS_QUICK = 1

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    interrupted.abort(new Error(signal))
    endAll().finally(() => process.exit(1))
  })
}

const { rounds, seconds, quick, write, before, settings, measurements } = chosen()
const warmUpSeconds = quick ? WARM_UP_SECONDS_QUICK : WARM_UP_SECONDS
const begun = performance.now()
const load = loadavg()[0]!.toFixed(1)
const header = [
  `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${process.platform} ${process.arch}, Node ${process.version}, load ${load} before`,
  `${rounds} ${rounds === 1 ? 'round' : 'rounds'}, ${seconds} s for each phase after ${warmUpSeconds} s to warm up`
]
const results: Results = {}
let contestants = before !== undefined
  ? [SERVICE, serviceBefore(resolve(before))]
  : settings !== undefined ? [SERVICE, serviceWith(settings)] : CONTESTANTS
let failures: string[] = []
for (const line of header) console.log(line)
if (rounds > 0) await measure()
finish()
await endAll()
process.exit(failures.length === 0 ? 0 : 1)

function chosen (): Options {
  try {
    return optionsFrom(process.argv.slice(2), MEASUREMENTS)
  } catch (error) {
    console.error((error as Error).message)
    process.exit(2)
  }
}

async function measure (): Promise<void> {
  const noGo = contestants === CONTESTANTS ? await buildGo() : undefined
  if (noGo !== undefined) {
    contestants = CONTESTANTS.filter(({ name }) => name !== 'go')
    header.push(`without the Go contestant: ${noGo}`)
    console.log(header.at(-1))
  }
  try {
    await endPartsIn(PARTS)
    const stage = await prepareStage(PARTS, {
      phaseMs: seconds * 1000,
      warmUpMs: warmUpSeconds * 1000,
      quick,
      measured: (measurement, contestant, figure) => medianOf(results, measurement, contestant, figure)
    })
    failures = await runRounds(stage, {
      measurements,
      contestants,
      rounds,
      results,
      signal: interrupted.signal,
      onRun: (text) => console.log(text)
    })
    await endAll()
    await rm(PARTS, { recursive: true, force: true })
  } catch (error) {
    // Until all that was started has ended, and this with it.
    if (interrupted.signal.aborted) return await new Promise(() => {})
    failures.push((error as Error).message)
  }
}

function finish (): void {
  header.push(
    `${((performance.now() - begun) / 60_000).toFixed(1)} minutes in all, ${failures.length === 0 ? 'nothing failed' : `FAILED: ${failures.join('; ')}`}`
  )
  const report: Report = { results, measurements, contestants, header }
  const svg = chart(report)
  const text = document(report, svg !== undefined)
  mkdirSync(DIR, { recursive: true })
  for (const dir of write ? [DIR, resolve('docs', 'records')] : [DIR]) {
    writeFileSync(join(dir, 'benchmark.md'), text)
    if (svg !== undefined) writeFileSync(join(dir, 'benchmark.svg'), svg)
  }
  writeFileSync(join(DIR, 'results.json'), `${JSON.stringify({ header, failures, results }, null, 2)}\n`)
  console.log(`\n${tables(report)}\n\n${header.at(-1)}`)
}
