import { rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { check, type Facts, type Finding } from '../check/checker.ts'
import { startCluster } from '../rig/cluster.ts'
import { collectFacts } from '../check/facts.ts'
import { followTopic, type Follower } from '../check/follower.ts'
import { startLoad, type Load } from '../clients/keyed-load.ts'
import { endPartsIn } from '../rig/parts.ts'
import { createRandom } from '../clients/random.ts'
import { startReplicas } from '../rig/replicas.ts'
import type { Bug } from './bugs.ts'
import type { Fault, Target } from './harm.ts'
import { preloaded } from './preloads.ts'

/** Between two faults all is well for so long. */
const CALM_MS = 1_500
const RECOVERY_MS_MAX = 120_000
/** Its own, as a campaign takes long and `npm run prove` may run meanwhile. */
const FIRST_PORT = 18_100
const POLL_MS = 100

export interface Recovery {
  fault: string
  /** From the injection until a POST that began after it had its 201. */
  postsMs: number
  /** From the injection until the last POST that failed, or took more than a second, was over; 0 if there was none. */
  disturbedMs: number
  /** From the injection until there was a committed event of an order that was sent after it. */
  eventsMs: number
  /**
   * From the injection until every replica took orders and all of them were published; the duration of the fault is
   * part of it.
   */
  allMs: number
}

export interface Campaign {
  dir: string
  seed: number
  replicas: number
  perSecond: number
  /** Of Kafka: 1 or 3. */
  brokers: number
  /** Each as often as it is to come. */
  faults: Fault[]
  bug?: Bug | undefined
  /** Takes a line about each fault. */
  say: (line: string) => void
  /**
   * Of the services. A dead service's port is free, so two campaigns at a time must not share any: they would get each
   * other's orders.
   */
  firstPort?: number
}

export interface Result { facts: Facts, findings: Finding[], recoveries: Recovery[], ms: number }

export async function runCampaign (campaign: Campaign): Promise<Result> {
  const { dir, seed, replicas: count, perSecond, brokers, faults, bug, say, firstPort = FIRST_PORT } = campaign
  const begun = performance.now()
  await endPartsIn(dir)
  await rm(dir, { recursive: true, force: true })
  // Of their own, so that what the load decides does not depend on how many faults there were.
  const [random, loadRandom] = [createRandom(seed), createRandom(seed + 1)]
  const cluster = await startCluster(dir, 'quick', brokers)
  const imports = ['trigger', ...(bug === undefined ? [] : [bug.name])].map(preloaded)
  const replicas = await startReplicas({
    dir,
    count,
    urls: cluster.urls,
    settings: cluster.brokers.settings,
    imports,
    firstPort
  })
  await replicas.leader()
  const follower = await followTopic(cluster.urls.kafka)
  const urls = replicas.all.map(({ url }) => url)
  const load = startLoad({ urls, perSecond, random: loadRandom })
  const target: Target = { cluster, replicas, random }
  const recoveries: Recovery[] = []
  const findings: Finding[] = []

  await recovered(target, load, follower)
  for (const fault of random.shuffled(faults)) {
    try {
      await delay(CALM_MS)
      await cluster.brokers.inSync() // otherwise the next fault at a broker could meet the last one that has everything
      recoveries.push(await suffer(fault, target, load, follower, say))
    } catch (error) {
      findings.push({ violation: 'not-recovered', what: `${fault.name}: ${(error as Error).message}` })
      say(`[${fault.name}] NOT RECOVERED: ${(error as Error).message}`)
      await cluster.heal()
      await replicas.heal()
    }
  }
  await load.stop()
  await drained(load, follower) // the checker says what is missing
  const facts = await collectFacts({
    operations: load.operations,
    mongoUrl: cluster.urls.mongo,
    brokers: cluster.urls.kafka,
    urls
  })
  return { facts, findings: [...findings, ...check(facts)], recoveries, ms: performance.now() - begun }
}

async function suffer (
  fault: Fault,
  target: Target,
  load: Load,
  follower: Follower,
  say: Campaign['say']
): Promise<Recovery> {
  const at = performance.now()
  const end = await fault.inject(target)
  await delay(fault.holdMs)
  await end()
  await recovered(target, load, follower)
  const after = load.samples.filter(({ ended }) => ended >= at)
  const postsMs = Math.min(...after.filter(({ begun, ok }) => ok && begun >= at).map(({ ended }) => ended)) - at
  const disturbedMs = Math.max(at, ...after.filter(({ ok }) => !ok).map(({ ended }) => ended)) - at
  const eventsMs =
    Math.min(
      ...[...load.begunAt].filter(([, begunAt]) => begunAt >= at).map(([id]) => follower.seenAt.get(id) ?? Infinity)
    ) - at
  const recovery = { fault: fault.name, postsMs, disturbedMs, eventsMs, allMs: performance.now() - at }
  say(
    `[${fault.name}] ${fault.title}: POSTs again after ${seconds(postsMs)}, none disturbed after ${seconds(disturbedMs)}, events again after ${seconds(eventsMs)}, all well after ${seconds(recovery.allMs)}`
  )
  const kinds = new Map<string, number>()
  for (const { ok, what } of after) if (!ok) kinds.set(what, (kinds.get(what) ?? 0) + 1)
  if (kinds.size > 0) say(`    ${[...kinds].map(([what, times]) => `${times} × ${what}`).join(', ')}`)
  return recovery
}

/** Every replica takes orders, and they come to the topic. */
async function recovered ({ replicas }: Target, load: Load, { seenAt }: Follower): Promise<void> {
  const end = performance.now() + RECOVERY_MS_MAX
  await Promise.all(replicas.all.map(async (replica) => {
    let id: string | undefined
    do {
      if (performance.now() > end) {
        throw new Error(
          `replica ${replica.index} takes no orders within ${RECOVERY_MS_MAX} ms: ${replica.service.output}`
        )
      }
      await delay(POLL_MS)
      // One that a fault made end, at once or after a while, is started again, as its operator would.
      if (replica.service.hasEnded) await replica.start()
      id = await load.through(replica.index)
    } while (id === undefined)
    while (!seenAt.has(id)) {
      if (performance.now() > end) throw new Error(`the event of ${id} does not come within ${RECOVERY_MS_MAX} ms`)
      await delay(POLL_MS)
    }
  }))
}

const DRAIN_MS_MAX = 30_000

async function drained ({ begunAt }: Load, { seenAt }: Follower): Promise<void> {
  const end = performance.now() + DRAIN_MS_MAX
  while ([...begunAt.keys()].some((id) => !seenAt.has(id)) && performance.now() < end) await delay(POLL_MS)
}

export function seconds (ms: number): string {
  return Number.isFinite(ms) ? `${(ms / 1000).toFixed(1)} s` : 'never'
}
