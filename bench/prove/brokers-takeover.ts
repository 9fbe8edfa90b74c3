import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startBrokers } from '../rig/brokers.ts'
import { followTopic, type Follower } from '../check/follower.ts'
import { percentile } from '../clients/open-loop.ts'
import { firstEventOf, startOrders, type PacedOrders } from '../check/paced-orders.ts'
import { startParts } from '../rig/parts.ts'
import { startReplicas } from '../rig/replicas.ts'
import { range, round, type Bench, type Scenario } from '../check/findings.ts'
import { metric } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const BROKERS = 3
const REPLICAS = 3
const TIMES = 10
const POSTS_PER_SECOND = 200
/** Enough orders for a p99 of their lag. */
const LAG_MS = 15_000
const CALM_MS = 1_000
/**
 * Bounds: after a SIGKILL the lease (5 s) has to end first; where partitions' leaders moved nobody has to be waited
 * for.
 */
const KILLED_MS_MAX = 7_000
const MOVED_MS_MAX = 2_000
/** Of a leadership, once it has the lease. */
const START_MS_MAX = 1_000
const TOPIC = 'order-events'

/** With Kafka's default settings, as a take-over can wait for what a single broker for development doesn't have. */
async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, parts: ['mongo', 'redis'], fresh: true })
  const brokers = await startBrokers(join(dir, 'brokers'), BROKERS, 'default')
  const addresses = { mongo: urls.mongo!, redis: urls.redis!, kafka: brokers.url }
  const replicas = await startReplicas({ dir, count: REPLICAS, urls: addresses, settings: brokers.settings })
  await replicas.leader()
  const follower = await followTopic(brokers.url)
  const load = startOrders(replicas.all, POSTS_PER_SECOND)
  await firstEventOf(load, follower, performance.now())
  const lags = await measureLag(load, follower)

  const killedMs: number[] = []
  const movedMs: number[] = []
  const startMs: number[] = []
  const lastStartMs = async (): Promise<number> =>
    1000 * (await metric((await replicas.leader()).service, 'relay_start_seconds'))
  for (let n = 0; n < 2 * TIMES; n++) {
    await delay(CALM_MS)
    if (n % 2 === 0) {
      const leader = await replicas.leader()
      await load.without(leader)
      const at = performance.now()
      await leader.kill()
      killedMs.push(await firstEventOf(load, follower, at) - at)
      startMs.push(await lastStartMs())
      await leader.start()
      load.with(leader)
    } else {
      const { began, held } = await brokers.moveLeaders(TOPIC)
      // An order from before the end of the election may still have gone to the old leaders.
      movedMs.push(await firstEventOf(load, follower, held) - began)
      startMs.push(await lastStartMs())
    }
  }
  await delay(CALM_MS)
  await load.stop()

  const [killedMsMax, movedMsMax] = [Math.max(...killedMs), Math.max(...movedMs)]
  figure(`${BROKERS} brokers, ${REPLICAS} replicas, ${POSTS_PER_SECOND} POST/s`)
  figure(`${round(load.created.size)} × 201, ${load.failures.length} failed`)
  figure(`from the 201 to the event p50 ${round(percentile(lags, 0.5))} ms, p99 ${round(percentile(lags, 0.99))} ms`)
  figure(`SIGKILL of the relay's leader: a new order's event after ${range(killedMs)} (${TIMES} times)`)
  figure(`the leader of each partition moved: after ${range(movedMs)} (${TIMES} times)`)
  figure(`a leadership began within ${range(startMs)} (${startMs.length} times)`)
  detail(
    `SIGKILL: ${killedMs.map((ms) => round(ms)).join(', ')} ms; moved: ${movedMs.map((ms) => round(ms)).join(', ')} ms`
  )
  expect(Math.max(...startMs) <= START_MS_MAX, `a leadership took ${round(Math.max(...startMs))} ms to begin`)
  expect(killedMsMax <= KILLED_MS_MAX, `after a SIGKILL of the leader events came only after ${round(killedMsMax)} ms`)
  expect(movedMsMax <= MOVED_MS_MAX, `after leaders had moved events came only after ${round(movedMsMax)} ms`)
  expect(load.failures.length === 0, `POSTs to the others failed: ${load.failures[0]}`)
  await verifyOrders(bench, load.created, { mongoUrl: urls.mongo!, brokers: brokers.url })
}

/** @returns ms from the 201 to the event of each order that was posted meanwhile and is published by now */
async function measureLag (load: PacedOrders, { seenAt }: Follower): Promise<number[]> {
  const from = performance.now()
  await delay(LAG_MS)
  const to = performance.now() - CALM_MS
  const answered = [...load.answeredAt].filter(([, at]) => at >= from && at <= to)
  return answered.map(([id, at]) => (seenAt.get(id) ?? Infinity) - at)
}

export default {
  name: 'brokers-takeover',
  title: 'a relay or a partition leader moves, three brokers',
  run
} satisfies Scenario
