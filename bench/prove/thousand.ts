import { createClient, describeOthers, postOrders } from '../clients/client.ts'
import { addressesIn } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { startService } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const ORDERS = 1_000
const CONNECTIONS = 64

async function run (bench: Bench): Promise<void> {
  const { dir, figure, expect } = bench
  const service = await startService(dir)
  const { created, others, ms } = await postOrders({ url: service.url, connections: CONNECTIONS, count: ORDERS })
  figure(
    `${created.size} × 201 over ${CONNECTIONS} connections, ${round((created.size / ms) * 1000)} POST/s right after the start`
  )
  expect(created.size === ORDERS, `other answers: ${describeOthers(others)}`)
  await verifyOrders(bench, created, addressesIn(dir))

  const client = createClient(service.url, CONNECTIONS)
  let differing = 0
  await Promise.all([...created].map(async ([id, body]) => {
    const answer = await client.send('GET', `/orders/${id}`)
    if (answer.status !== 200 || answer.body !== body) differing++
  }))
  client.close()
  expect(differing === 0, `${differing} orders read otherwise than they were answered`)
  await service.stop()
}

export default { name: 'thousand', title: 'each order stored and published exactly once', run } satisfies Scenario
