/**
 * `npm run prove [-- --seconds N] [-- --orders N] [-- SCENARIO…]` starts the real service as a process, loads it,
 * breaks what it depends on and says with figures whether it keeps its promises. Everything is on this machine and
 * under `.local/prove`; a running service is not touched. The figures are those of a machine that also carries the
 * load, MongoDB, Redis and Kafka.
 */
import { rm } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { within } from '../src/runtime/deadline.ts'
import brokersBacklog from './prove/brokers-backlog.ts'
import brokersTakeover from './prove/brokers-takeover.ts'
import burst from './prove/burst.ts'
import ctrlC from './prove/ctrl-c.ts'
import errors from './prove/errors.ts'
import feed from './prove/feed.ts'
import fuzz from './prove/fuzz.ts'
import kafkaAway from './prove/kafka-away.ts'
import kill from './prove/kill.ts'
import leader from './prove/leader.ts'
import list from './prove/list.ts'
import oneKey from './prove/one-key.ts'
import outages from './prove/outages.ts'
import overload from './prove/overload.ts'
import pages from './prove/pages.ts'
import { endAll, endPartsIn } from './rig/parts.ts'
import primary from './prove/mongo-primary.ts'
import redisHang from './prove/redis-hang.ts'
import { createFindings, type Scenario } from './check/findings.ts'
import sigterm from './prove/sigterm.ts'
import start from './prove/start.ts'
import thousand from './prove/thousand.ts'

const SCENARIOS: Scenario[] = [
  start,
  thousand,
  oneKey,
  kill,
  leader,
  primary,
  ctrlC,
  sigterm,
  list,
  outages,
  redisHang,
  kafkaAway,
  brokersBacklog,
  brokersTakeover,
  overload,
  burst,
  pages,
  feed,
  fuzz,
  errors
]
const ROOT = resolve('.local', 'prove')

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, orders: { type: 'string', default: '100000' } }
})
const seconds = Number(values.seconds)
const orders = Number(values.orders)
const isOrders = Number.isInteger(orders) && orders >= 1_000 && orders <= 1_000_000
/**
 * No scenario takes so long unless something hangs. Those with an outage may also measure as long before it, and catch
 * up after it.
 */
const SCENARIO_MS_MAX = 15 * 60_000 + 3 * seconds * 1000
const unknown = positionals.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name))
if (!(seconds >= 1 && seconds <= 600) || !isOrders || unknown.length > 0) {
  console.error(
    `${unknown.length > 0 ? `There is no scenario ${unknown.join(', ')}. ` : ''}Usage: npm run prove -- [--seconds 1…600] [--orders 1000…1000000] [${SCENARIOS.map(({ name }) => name).join('] [')}]`
  )
  process.exit(2)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => { endAll().finally(() => process.exit(1)) })
}

console.log(
  `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), ${(totalmem() / 2 ** 30).toFixed(0)} GiB, ${process.platform} ${process.arch}, Node ${process.version}, load ${loadavg()[0]!.toFixed(1)} before`
)
const failed: string[] = []
const chosen = SCENARIOS.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
for (const scenario of chosen) {
  if (!await prove(scenario)) failed.push(scenario.name)
}
console.log(
  failed.length === 0
    ? `${chosen.length} of ${chosen.length} ok`
    : `${chosen.length - failed.length} of ${chosen.length} ok, FAILED: ${failed.join(', ')}`
)
process.exit(failed.length === 0 ? 0 : 1)

async function prove ({ name, title, run }: Scenario): Promise<boolean> {
  const dir = join(ROOT, name)
  const findings = createFindings()
  const begun = performance.now()
  try {
    await endPartsIn(dir)
    await rm(dir, { recursive: true, force: true })
    await within(SCENARIO_MS_MAX, `the end of ${name}`, run({ dir, seconds, orders, ...findings }))
  } catch (error) {
    findings.expect(false, (error as Error).message)
  }
  await endAll()
  const { figures, details, failures } = findings.found()
  const verdict = failures.length === 0 ? 'ok' : `FAILED: ${failures.join('; ')}`
  console.log(
    `[${name}] ${title}: ${figures.join(', ')} (${((performance.now() - begun) / 1000).toFixed(0)} s) ${verdict}`
  )
  for (const detail of details) console.log(`    ${detail}`)
  if (failures.length === 0) await rm(dir, { recursive: true, force: true }) // otherwise it is kept for a closer look
  return failures.length === 0
}
