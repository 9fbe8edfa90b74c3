/**
 * `npm run crash [-- --seed N] [-- --rounds N|--long] [-- --replicas N] [-- --brokers 1|3] [-- --rate N] [-- --fault
 * NAME …] [-- --bug NAME|all]`: a campaign of faults. It starts a replica set of three mongods, Redis, three Kafka
 * brokers and the service in several processes, sends orders to them in turn, lets one fault follow the other, and
 * proves at the end that nothing was lost, published twice or changed. With `--bug` the services lie in a certain way,
 * or in each in turn, and the run succeeds when the checker finds out. Everything is on this machine and under
 * `.local/crash`. With `--long` each fault comes as often as faults.ts says, which takes about an hour. The seed
 * decides what is sent, which fault comes when and whom it meets; the operating system the rest.
 */
import { randomInt } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { BUGS, type Bug } from './crash/bugs.ts'
import { runCampaign, type Campaign, type Result } from './crash/campaign.ts'
import { BROKER_COUNTS } from './rig/brokers.ts'
import { countViolations } from './check/checker.ts'
import { FAULTS } from './crash/faults.ts'
import type { Fault } from './crash/harm.ts'
import { report } from './crash/report.ts'
import { endAll } from './rig/parts.ts'

const DIR = resolve('.local', 'crash')
const SEED_MAX = 2 ** 31

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(randomInt(SEED_MAX)) },
    rounds: { type: 'string', default: '1' },
    long: { type: 'boolean', default: false },
    replicas: { type: 'string', default: '3' },
    rate: { type: 'string', default: '60' },
    brokers: { type: 'string', default: '3' },
    fault: { type: 'string', multiple: true },
    bug: { type: 'string' }
  }
})
const bugs = values.bug === 'all' ? BUGS : BUGS.filter(({ name }) => name === values.bug)
if (values.bug !== undefined && bugs.length === 0) {
  refuse(`There is no bug ${values.bug}: all, ${BUGS.map(({ name }) => name).join(', ')}`)
}
const settings = {
  say: console.log,
  dir: DIR,
  seed: number('seed', 0, SEED_MAX),
  replicas: number('replicas', 1, 9),
  perSecond: number('rate', 1, 1_000),
  brokers: number('brokers', 1, 3)
}
if (!BROKER_COUNTS.includes(settings.brokers)) refuse(`--brokers must be ${BROKER_COUNTS.join(' or ')}`)
const rounds = number('rounds', 1, 1_000)
const possible = FAULTS.filter(({ brokersMin = 1 }) => settings.brokers >= brokersMin)
const chosen = (values.fault ?? possible.map(({ name }) => name)).map(faultNamed)
/** A fault that was asked for by its name comes once a round. */
const timesOf = ({ often, perRound = 1 }: Fault): number =>
  values.long ? often : rounds * (values.fault === undefined ? perRound : 1)
const faults = chosen.flatMap((fault) => Array.from({ length: timesOf(fault) }, () => fault))

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => { endAll().finally(() => process.exit(1)) })
}

console.log(`seed ${settings.seed}`)
let failed = 0
if (bugs.length === 0 && !await keepsItsPromises()) failed++
for (const bug of bugs) if (!await findsOut(bug)) failed++
process.exit(failed === 0 ? 0 : 1)

async function keepsItsPromises (): Promise<boolean> {
  const campaign = { ...settings, faults }
  return await run(campaign, (result) => {
    console.log(`\n${report(campaign, result)}`)
    return result.findings.length === 0
  })
}

async function findsOut (bug: Bug): Promise<boolean> {
  return await run(
    { ...settings, faults: values.fault === undefined ? bug.faults.map(faultNamed) : faults, bug },
    ({ findings }) => {
      const found = countViolations(findings)
      const succeeded = bug.violations.some((violation) => found.has(violation))
      const example = findings.find(({ violation }) => bug.violations.includes(violation))
      console.log(
        `${succeeded ? 'found' : 'NOT FOUND'}: ${bug.name}, ${bug.title}: ${[...found].map(([violation, count]) => `${count} ${violation}`).join(', ') || 'no violation'}${example === undefined ? '' : ` (${example.what})`}`
      )
      return succeeded
    }
  )
}

async function run (campaign: Campaign, judge: (result: Result) => boolean): Promise<boolean> {
  let succeeded = false
  try {
    succeeded = judge(await runCampaign(campaign))
  } catch (error) {
    console.error(error)
  }
  await endAll()
  if (succeeded) await rm(DIR, { recursive: true, force: true }) // otherwise it is kept for a closer look
  return succeeded
}

function faultNamed (wanted: string): Fault {
  return (
    possible.find(({ name }) => name === wanted) ??
    refuse(
      `There is no fault ${wanted} with --brokers ${settings.brokers}: ${possible.map(({ name }) => name).join(', ')}`
    )
  )
}

function number (name: 'seed' | 'rounds' | 'replicas' | 'rate' | 'brokers', min: number, max: number): number {
  const value = Number(values[name])
  return Number.isInteger(value) && value >= min && value <= max
    ? value
    : refuse(`--${name} must be an integer from ${min} to ${max}`)
}

function refuse (why: string): never {
  console.error(why)
  process.exit(2)
}
