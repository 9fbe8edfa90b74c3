/**
 * `npm run crash [-- --seed N] [-- --rounds N] [-- --replicas N] [-- --rate N] [-- --fault NAME …] [-- --bug NAME]`: a campaign of
 * faults. It starts a replica set of three mongods, Redis, Kafka and the service in several processes, sends orders to them in
 * turn, lets one fault follow the other, and proves at the end that nothing was lost, told twice or changed. With `--bug` the
 * services lie in a certain way, and the run succeeds when the checker finds out. Everything is on this machine and under
 * `.local/crash`. The seed decides what is sent, which fault comes when and whom it meets; the operating system the rest.
 */
import { randomInt } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { BUGS } from './crash/bugs.ts'
import { runCampaign } from './crash/campaign.ts'
import { countViolations } from './crash/checker.ts'
import { FAULTS } from './crash/faults.ts'
import { report } from './crash/report.ts'
import { endAll } from './prove/parts.ts'

const DIR = resolve('.local', 'crash')
const SEED_MAX = 2 ** 31

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(SEED_MAX)) },
    rounds: { type: 'string', default: '1' },
    replicas: { type: 'string', default: '3' },
    rate: { type: 'string', default: '60' },
    fault: { type: 'string', multiple: true },
    bug: { type: 'string' }
  }
})
const bug = BUGS.find(({ name }) => name === values.bug)
const names = values.fault ?? bug?.faults ?? FAULTS.map(({ name }) => name)
const campaign = {
  dir: DIR,
  seed: number('seed', 0, SEED_MAX),
  rounds: number('rounds', 1, 1_000),
  replicas: number('replicas', 1, 9),
  perSecond: number('rate', 1, 1_000),
  faults: names.map((name) => FAULTS.find((fault) => fault.name === name) ?? refuse(`There is no fault ${name}: ${FAULTS.map((fault) => fault.name).join(', ')}`)),
  bug: values.bug === undefined ? undefined : bug ?? refuse(`There is no bug ${values.bug}: ${BUGS.map(({ name }) => name).join(', ')}`)
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => { endAll().finally(() => process.exit(1)) })
}

console.log(`seed ${campaign.seed}`)
let succeeded = false
try {
  const result = await runCampaign(campaign)
  console.log(`\n${report(campaign, result)}`)
  const found = countViolations(result.findings)
  succeeded = bug === undefined ? found.size === 0 : bug.violations.some((violation) => found.has(violation))
  if (bug !== undefined) console.log(`${bug.name}, ${bug.title}: ${succeeded ? 'found' : 'NOT FOUND'}`)
} catch (error) {
  console.error(error)
}
await endAll()
if (succeeded) await rm(DIR, { recursive: true, force: true }) // else it is kept for a closer look
process.exit(succeeded ? 0 : 1)

function number (name: 'seed' | 'rounds' | 'replicas' | 'rate', min: number, max: number): number {
  const value = Number(values[name])
  return Number.isInteger(value) && value >= min && value <= max ? value : refuse(`--${name} must be an integer from ${min} to ${max}`)
}

function refuse (why: string): never {
  console.error(why)
  process.exit(2)
}
