import { resolve } from 'node:path'
import t from 'tap'
import { BUGS } from '../../bench/crash/bugs.ts'
import { runCampaign, type Campaign } from '../../bench/crash/campaign.ts'
import { FAULTS } from '../../bench/crash/faults.ts'
import { endAll } from '../../bench/rig/parts.ts'

/*
 * A short form of `npm run crash`: three services, three brokers, a replica set of three, and each kind of death that
 * the promise speaks of, always with the same seed. The long form is in docs/records/campaigns.md.
 */

const SHORT: Campaign = {
  dir: resolve('.local', 'crash-test'),
  seed: 1,
  replicas: 3,
  perSecond: 30,
  brokers: 3,
  faults: [
    'kill-leader',
    'kill-primary',
    'kill-leading-broker',
    'kill-redis',
    'stop-leader',
    'die-before-commit',
    'disk-full'
  ].map(faultNamed),
  say: (line) => t.comment(line),
  firstPort: 14_100
}

t.afterEach(endAll)
// What is stopped for taking too long must not leave services behind.
process.once('SIGTERM', () => { endAll().finally(() => process.exit(1)) })

t.test('nothing is lost and nothing is published twice, whatever dies', async (t) => {
  const { facts, findings, recoveries } = await runCampaign(SHORT)
  t.strictSame(findings, [])
  t.equal(recoveries.length, SHORT.faults.length)
  t.ok(facts.stored.length > 500, `${facts.stored.length} orders`)
  t.equal(facts.records.length, facts.stored.length)
})

t.test('a service that lies is found out', async (t) => {
  const bug = BUGS.find(({ name }) => name === 'key-not-unique')!
  const { findings } = await runCampaign({ ...SHORT, brokers: 1, faults: bug.faults.map(faultNamed), bug })
  t.ok(findings.some(({ violation }) => bug.violations.includes(violation)), 'a key made two orders')
})

function faultNamed (wanted: string): Campaign['faults'][number] {
  return FAULTS.find(({ name }) => name === wanted)!
}
