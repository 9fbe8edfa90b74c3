import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startOrders } from '../check/paced-orders.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { startFeedListener } from '../clients/feed-listener.ts'
import { startBrokers } from '../rig/brokers.ts'
import { startParts } from '../rig/parts.ts'
import { rssMegabytes } from '../rig/processes.ts'
import { startReplicas, type Replica } from '../rig/replicas.ts'
import { eventually, metric } from '../rig/service.ts'

const REPLICAS = 3
const CLIENTS = 200
const BROKERS = 3
const POSTS_PER_SECOND = 100
const PHASE_MS = 15_000
const RETRY_MS = 2_000
const CATCH_UP_MS_MAX = 60_000

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, fresh: true, parts: ['mongo', 'redis'] })
  const brokers = await startBrokers(join(dir, 'brokers'), BROKERS, 'default')
  const replicas = await startReplicas({
    dir,
    count: REPLICAS,
    urls: { mongo: urls.mongo!, redis: urls.redis!, kafka: brokers.url },
    settings: brokers.settings
  })
  const leader = await replicas.leader()
  const load = startOrders(replicas.all, POSTS_PER_SECOND)
  await delay(PHASE_MS / 3)
  const alone = await costOf(replicas.all)

  const living = new Set(replicas.all)
  const clients = Array.from({ length: CLIENTS }, (_, index) => {
    const seen = new Map<string, number>()
    let tries = index
    const listener = startFeedListener(
      () => `${[...living][tries++ % living.size]!.service.url}/orders/stream`,
      {
        retryMs: RETRY_MS,
        onEvent ({ data }) {
          const id = /"orderId":"(\w+)"/.exec(data)![1]!
          seen.set(id, (seen.get(id) ?? 0) + 1)
        }
      }
    )
    return { seen, listener }
  })
  await eventually('the clients', CATCH_UP_MS_MAX, () => clients.every(({ listener }) => listener.lastId !== undefined))
  const before = new Set(load.created.keys())
  const listening = await costOf(replicas.all)
  for (const [index, replica] of replicas.all.entries()) {
    const [was, is] = [alone[index]!, listening[index]!]
    detail(`${replica === leader ? 'the leader' : 'a follower'} of the relay with ${round(CLIENTS / REPLICAS)} clients: ${round(is.megabytes - was.megabytes, 1)} MB more (${round(was.megabytes)} → ${round(is.megabytes)}), ${round(100 * (is.cpu - was.cpu), 1)} % of a core more (${round(100 * was.cpu, 1)} → ${round(100 * is.cpu, 1)})`)
  }
  const mean = (pick: (cost: Cost) => number): number =>
    listening.reduce((sum, cost, index) => sum + pick(cost) - pick(alone[index]!), 0) / CLIENTS
  figure(`${CLIENTS} clients over ${REPLICAS} replicas at ${POSTS_PER_SECOND} orders/s, ${BROKERS} brokers: ${round(1000 * mean(({ megabytes }) => megabytes))} kB and ${round(100 * mean(({ cpu }) => cpu), 2)} % of a core for each client`)

  await load.without(leader)
  const own = clients.filter((_, index) => replicas.all[index % REPLICAS] === leader)
  living.delete(leader)
  await leader.kill()
  await delay(PHASE_MS)
  await load.stop()
  const sure = [...load.created.keys()].filter((id) => !before.has(id))
  const lacks = (): number => clients.reduce((sum, { seen }) => sum + sure.filter((id) => !seen.has(id)).length, 0)
  await eventually('all orders at all clients', CATCH_UP_MS_MAX, () => lacks() === 0).catch(() => {})
  const twice = clients.reduce((sum, { seen }) => sum + [...seen.values()].filter((count) => count > 1).length, 0)
  const events = clients.reduce((sum, { seen }) => sum + seen.size, 0)
  const again = own.filter(({ listener }) => listener.connections > 1).length
  figure(`the relay's leader killed with its ${own.length} clients, ${again} came back to the others; ${round(sure.length)} orders, ${round(events)} events, ${lacks()} missing, ${twice} twice`)
  for (const { listener } of clients) await listener.stop()
  expect(lacks() === 0, 'a client misses an order')
  expect(twice === 0, 'a client has an order twice')
  expect(again === own.length, 'a client did not come back')
  expect(load.failures.length === 0, `a POST failed: ${load.failures[0]}`)
}

interface Cost { megabytes: number, cpu: number }

/** At the end of a phase, and of a core during it. */
async function costOf (replicas: Replica[]): Promise<Cost[]> {
  return await Promise.all(replicas.map(async ({ service }) => {
    const before = await metric(service, 'process_cpu_seconds_total')
    const began = performance.now()
    await delay(PHASE_MS)
    const cpu = (await metric(service, 'process_cpu_seconds_total') - before) / ((performance.now() - began) / 1000)
    return { megabytes: rssMegabytes(service.pid), cpu }
  }))
}

const title = `${CLIENTS} clients of the live feed, and one of ${REPLICAS} replicas is killed`
export default { name: 'feed', title, run } satisfies Scenario
