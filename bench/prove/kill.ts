import { setTimeout as delay } from 'node:timers/promises'
import { createClient, describeOthers, postOrders } from '../clients/client.ts'
import { addressesIn } from '../rig/parts.ts'
import { countByName, partsIn } from '../rig/processes.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { launch, startService } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const KILLS = 5
const CONNECTIONS = 64
const RUN_MS_MIN = 500
const RUN_MS_MAX = 2_500
/** A bound on what has to be read back. */
const ORDERS_MAX = 10_000
const EXPECTED = '1 java, 1 mongod, 1 redis-server'

async function run (bench: Bench): Promise<void> {
  const { dir, figure, expect } = bench
  const created = new Map<string, string>()
  const restartsMs: number[] = []
  let unanswered = 0
  let service = await startService(dir)
  for (let kill = 0; kill < KILLS; kill++) {
    const over = new AbortController()
    const running = postOrders({
      url: service.url,
      connections: CONNECTIONS,
      count: ORDERS_MAX,
      first: kill * ORDERS_MAX,
      signal: over.signal
    })
    await Promise.race([running, delay(RUN_MS_MIN + Math.random() * (RUN_MS_MAX - RUN_MS_MIN))])
    const killed = service.stop('SIGKILL')
    over.abort()
    await killed
    const posted = await running
    for (const [id, body] of posted.created) created.set(id, body)
    unanswered += posted.others.get(0) ?? 0
    posted.others.delete(0)
    expect(posted.others.size === 0, `answers before kill ${kill + 1}: ${describeOthers(posted.others)}`)

    service = launch(dir)
    restartsMs.push(await service.ready())
    const processes = countByName(partsIn(dir))
    expect(processes === EXPECTED, `after restart ${kill + 1} there run ${processes}`)
  }
  figure(
    `${KILLS} × kill -9 under load, ready again after ${round(Math.min(...restartsMs))}–${round(Math.max(...restartsMs))} ms, ${created.size} × 201, ${unanswered} requests cut off`
  )

  const client = createClient(service.url, CONNECTIONS)
  const answers = await Promise.all([...created].map(async ([id, body]) => {
    const answer = await client.send('GET', `/orders/${id}`)
    return answer.status !== 200 ? 'lost' : answer.body !== body ? 'other' : 'same'
  }))
  client.close()
  const lost = answers.filter((answer) => answer === 'lost').length
  const other = answers.filter((answer) => answer === 'other').length
  expect(lost === 0, `${lost} orders with a 201 can't be read`)
  expect(other === 0, `${other} orders read otherwise than they were answered`)
  await verifyOrders(bench, created, addressesIn(dir))
  await service.stop()
  expect(partsIn(dir).length === 0, `after the end there run ${countByName(partsIn(dir))}`)
}

export default { name: 'kill', title: 'kill -9 loses nothing and publishes nothing twice', run } satisfies Scenario
