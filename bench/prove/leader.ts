import { setTimeout as delay } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { leaseName, RELAY_COLLECTION, type LeaseDocument } from '../../src/mongo/lease.ts'
import { followTopic } from '../check/follower.ts'
import { firstEventOf, startOrders } from '../check/paced-orders.ts'
import { atEnd, startParts } from '../rig/parts.ts'
import { startReplicas } from '../rig/replicas.ts'
import { range, round, type Bench, type Scenario } from '../check/findings.ts'
import { verifyOrders } from '../check/verify.ts'

const REPLICAS = 3
const TIMES = 5
const POSTS_PER_SECOND = 50
const CALM_MS = 1_000
/** Bounds: after a SIGKILL the lease (5 s) has to end first; one that was given back is taken up. */
const KILLED_MS_MAX = 10_000
const RELEASED_MS_MAX = 1_000
const LEASE_POLL_MS = 2

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, fresh: true })
  const replicas = await startReplicas({
    dir,
    count: REPLICAS,
    urls: { mongo: urls.mongo!, redis: urls.redis!, kafka: urls.kafka! }
  })
  await replicas.leader()
  const follower = await followTopic(urls.kafka!)
  const lease = await followLease(urls.mongo!)
  const load = startOrders(replicas.all, POSTS_PER_SECOND)
  const firstEvent = (at: number): Promise<number> => firstEventOf(load, follower, at)

  const killedMs: number[] = []
  const terminated: { releasedMs: number, endedMs: number, eventMs: number }[] = []
  for (let n = 0; n < 2 * TIMES; n++) {
    await delay(CALM_MS)
    const leader = await replicas.leader()
    await load.without(leader)
    const at = performance.now()
    if (n % 2 === 0) {
      await leader.kill()
      killedMs.push(await firstEvent(at) - at)
    } else {
      const released = lease.released()
      const ended = leader.service.stop().then(() => performance.now())
      const releasedAt = await released
      // Of an order that is sent after the release only the successor can tell.
      const [eventAt, endedAt] = await Promise.all([firstEvent(releasedAt), ended])
      terminated.push({ releasedMs: releasedAt - at, endedMs: endedAt - at, eventMs: eventAt - at })
    }
    await leader.start()
    load.with(leader)
  }
  await delay(CALM_MS)
  await load.stop()

  const fromRelease = terminated.map(({ releasedMs, eventMs }) => eventMs - releasedMs)
  figure(`${REPLICAS} replicas, ${POSTS_PER_SECOND} POST/s, ${load.created.size} × 201, ${load.failures.length} failed`)
  figure(`SIGKILL of the leader: a new order's event after ${range(killedMs)} (${TIMES} times)`)
  figure(`SIGTERM: a new order's event ${range(fromRelease)} after the lease was given back`)
  detail(
    `from the SIGTERM: lease given back after ${range(terminated.map(({ releasedMs }) => releasedMs))}, new order's event after ${range(terminated.map(({ eventMs }) => eventMs))}, process ended after ${range(terminated.map(({ endedMs }) => endedMs))}`
  )
  detail(
    `from the process' end: a new order's event after ${range(terminated.map(({ eventMs, endedMs }) => eventMs - endedMs))}`
  )
  expect(
    Math.max(...killedMs) <= KILLED_MS_MAX,
    `after a SIGKILL of the leader events came again only after ${round(Math.max(...killedMs))} ms`
  )
  expect(
    Math.max(...fromRelease) <= RELEASED_MS_MAX,
    `after the lease was given back events came only after ${round(Math.max(...fromRelease))} ms`
  )
  expect(load.failures.length === 0, `POSTs to the others failed: ${load.failures[0]}`)
  await verifyOrders(bench, load.created, { mongoUrl: urls.mongo!, brokers: urls.kafka! })
}

async function followLease (mongoUrl: string) {
  const client = await new MongoClient(mongoUrl).connect()
  atEnd(() => client.close())
  const leases = client.db('orders').collection<LeaseDocument>(RELAY_COLLECTION)
  const _id = leaseName('order-events')
  return {
    /** Resolves with the time (performance.now()) when the one who holds the lease now holds it no more. */
    async released (): Promise<number> {
      const owner = (await leases.findOne({ _id }))?.owner
      while ((await leases.findOne({ _id }))?.owner === owner) await delay(LEASE_POLL_MS)
      return performance.now()
    }
  }
}

export default { name: 'leader', title: 'another relay takes over', run } satisfies Scenario
