import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient, newOrder, type Answer, type Client } from '../clients/client.ts'
import { percentile } from '../clients/open-loop.ts'
import { startParts } from '../rig/parts.ts'
import { startReplicas } from '../rig/replicas.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { verifyOrders } from '../check/verify.ts'

const REPLICAS = 3
const POSTS = 1_000
const ROUNDS = 5
const TRIES_MAX = 10

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, fresh: true })
  const replicas = await startReplicas({
    dir,
    count: REPLICAS,
    urls: { mongo: urls.mongo!, redis: urls.redis!, kafka: urls.kafka! }
  })
  const clients = replicas.all.map(({ service }) => createClient(service.url, Math.ceil(POSTS / REPLICAS)))
  const created = new Map<string, string>()
  for (let n = 0; n < ROUNDS; n++) {
    const headers = { 'idempotency-key': randomUUID() }
    const start = performance.now()
    const latencies: number[] = []
    const posts = await Promise.all(Array.from({ length: POSTS }, async (_value, i) => {
      const answers = await post(clients[i % REPLICAS]!, newOrder(n), headers)
      latencies.push(performance.now() - start)
      return answers
    }))
    const answers = posts.flat()
    const refused = answers.filter(isForLater)
    const others = answers.filter((answer) => answer.status !== 201 && !isForLater(answer))
    const bodies = new Set(posts.map((each) => each.at(-1)!.body))
    const replayed = answers.filter(
      (answer) => answer.status === 201 && answer.headers['idempotent-replayed'] === 'true'
    ).length
    detail(
      `key ${n + 1}: ${answers.length - refused.length - others.length} × 201, ${replayed} of them replayed, ${refused.length} × 409 or OVERLOADED first, ${bodies.size} body, all within ${round(percentile(latencies, 1))} ms (p50 ${round(percentile(latencies, 0.5))} ms)`
    )
    expect(
      posts.every((each) => each.at(-1)!.status === 201) && bodies.size === 1,
      `key ${n + 1} has ${bodies.size} last answers: ${[...bodies].slice(0, 3).join(' and ')}`
    )
    expect(
      others.length === 0,
      `key ${n + 1} was answered ${others.length} × neither, as ${others[0]?.status} ${others[0]?.body}`
    )
    expect(
      refused.every((answer) => Number(answer.headers['retry-after']) >= 1),
      `key ${n + 1} was answered without Retry-After`
    )
    for (const { status, body } of answers) if (status === 201) created.set(JSON.parse(body)._id, body)
  }
  figure(`${ROUNDS} × ${round(POSTS)} POSTs at once over ${REPLICAS} replicas made ${created.size} orders`)
  expect(created.size === ROUNDS, `${ROUNDS} keys made ${created.size} orders`)
  for (const client of clients) client.close()
  await verifyOrders(bench, created, { mongoUrl: urls.mongo!, brokers: urls.kafka! })
}

/** Still being stored, or shed: nothing of it was stored by this request. Both say when to come again. */
function isForLater ({ status, body }: Answer): boolean {
  return status === 409 || (status === 503 && JSON.parse(body).code === 'OVERLOADED')
}

/** @returns all answers until the first that is for good */
async function post (client: Client, body: string, headers: Record<string, string>): Promise<Answer[]> {
  const answers: Answer[] = []
  while (answers.length < TRIES_MAX) {
    const answer = await client.send('POST', '/orders', body, headers)
    answers.push(answer)
    if (!isForLater(answer)) break
    await delay(Number(answer.headers['retry-after'] ?? 1) * 1000)
  }
  return answers
}

export default { name: 'one-key', title: 'one order for one Idempotency-Key', run } satisfies Scenario
