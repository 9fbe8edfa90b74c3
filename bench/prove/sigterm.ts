import { get, type IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { createClient, newOrder, postOrders, type Answer } from '../clients/client.ts'
import { percentile } from '../clients/open-loop.ts'
import { startPace } from '../clients/pace.ts'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { metric, eventually, startService, type Service } from '../rig/service.ts'
import { verifyOrders } from '../check/verify.ts'

const TIMES = 5
const REQUESTS_PER_SECOND = 500
const CONNECTIONS = 32
const LOAD_MS = 2_000
const END_MS_MAX = 10_000
/** The default, and what node itself takes to end after it. */
const CLOSE_DELAY_MS = 9_000
const FORCED_MS_MAX = CLOSE_DELAY_MS + 1_000
/** More than the sockets between service and a reader who stops reading hold. */
const LONG_LIST_ORDERS = 60_000
const HUNG_MS = 500

interface Closing {
  ms: number
  code: number | NodeJS.Signals
  answered: number
  refused: number
  unaccepted: number
  failures: Answer[]
}

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls, parts } = await startParts({ dir, fresh: true })
  const settings = {
    MONGO_URL: urls.mongo!,
    REDIS_URL: urls.redis!,
    KAFKA_BROKERS: urls.kafka!,
    CLOSE_DELAY_MS: String(CLOSE_DELAY_MS)
  }
  const start = async (): Promise<Service> => {
    const service = await startService(dir, settings)
    await eventually('a leader', 30_000, async () => await metric(service, 'relay_leader') === 1)
    return service
  }
  const created = new Map<string, string>()

  const closings: Closing[] = []
  for (let n = 1; n <= TIMES; n++) {
    const closing = await closeUnderLoad(await start(), created)
    closings.push(closing)
    detail(
      `SIGTERM ${n}: ended after ${round(closing.ms)} ms with ${closing.code}, ${closing.answered} answered, ${closing.failures.length} failed, not accepted: ${closing.refused} refused, ${closing.unaccepted} new connections reset`
    )
  }
  const failures = closings.flatMap((closing) => closing.failures)
  const sum = (key: 'answered' | 'refused' | 'unaccepted'): number =>
    closings.reduce((total, closing) => total + closing[key], 0)
  figure(
    `${TIMES} times under ${REQUESTS_PER_SECOND} requests/s: ${sum('answered')} answered, ${failures.length} failed, not accepted: ${sum('refused')} refused, ${sum('unaccepted')} new connections reset; exit codes ${[...new Set(closings.map(({ code }) => code))].join(', ')} after p50 ${round(
      percentile(
        closings.map(({ ms }) => ms),
        0.5
      )
    )} ms, max ${round(Math.max(...closings.map(({ ms }) => ms)))} ms`
  )
  expect(
    failures.length === 0,
    `${failures.length} accepted requests failed, as ${failures[0]?.status} ${failures[0]?.body}`
  )
  expect(
    closings.every(({ code, ms }) => code === 0 && ms < END_MS_MAX),
    `the exit code was not always 0 within ${END_MS_MAX} ms`
  )
  const service = await start() // the last one left what came after its last transaction to the next
  const { stored } = await verifyOrders(bench, created, { mongoUrl: urls.mongo!, brokers: urls.kafka! })
  expect(stored === created.size, `${stored - created.size} orders are stored whose POST had no answer`)

  await postOrders({ url: service.url, connections: CONNECTIONS, count: LONG_LIST_ORDERS })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${service.url}/orders`, { agent: false }, resolve).on('error', reject)
  })
  response.once('data', () => response.pause()).on('error', () => {})
  await delay(HUNG_MS)
  await end('a reader who stops reading GET /', service)
  response.destroy()

  const other = await start()
  const client = createClient(other.url, CONNECTIONS)
  parts.mongo!.pause()
  const hung = client.send('POST', '/orders', newOrder(0))
  await delay(HUNG_MS)
  await end('a POST while MongoDB hangs', other)
  parts.mongo!.resume()
  const { status, body } = await hung
  detail(`that POST was answered with ${status} ${body}`)
  client.close()

  async function end (what: string, service: Service): Promise<void> {
    const ms = await service.stop()
    const { code } = await service.ended()
    figure(`${what}: ended after ${round(ms)} ms with ${code}`)
    expect(ms < FORCED_MS_MAX, `${what} held the service for ${round(ms)} ms`)
  }
}

/** As long as somebody answers and a little longer. What each request met is told apart by the client's connection. */
async function closeUnderLoad (service: Service, created: Map<string, string>): Promise<Closing> {
  const client = createClient(service.url, CONNECTIONS)
  const closing: Closing = { ms: 0, code: 0, answered: 0, refused: 0, unaccepted: 0, failures: [] }
  const ids: string[] = []
  const pending = new Set<Promise<void>>()

  async function request (n: number): Promise<void> {
    const id = n % 2 === 0 ? undefined : ids[Math.floor(Math.random() * ids.length)]
    const answer =
      id === undefined ? await client.send('POST', '/orders', newOrder(n)) : await client.send('GET', `/orders/${id}`)
    const { status, body, failure } = answer
    if (status === 0) {
      if (failure!.code === 'ECONNREFUSED') closing.refused++
      // The kernel completes connections before the process takes them: those that wait when the listener closes are
      // reset. Were one of them accepted, its POST would be stored, and the orders would be more than the 201s.
      else if (failure!.code === 'ECONNRESET' && !failure!.reused) closing.unaccepted++
      else closing.failures.push(answer)
    } else if (status === (id === undefined ? 201 : 200)) {
      closing.answered++
      if (id !== undefined) return
      const { _id } = JSON.parse(body)
      ids.push(_id)
      created.set(_id, body)
    } else {
      closing.failures.push(answer)
    }
  }

  const stop = startPace(REQUESTS_PER_SECOND, (n) => {
    const sent = request(n)
    pending.add(sent)
    sent.finally(() => pending.delete(sent))
  })
  await delay(LOAD_MS)
  closing.ms = await service.stop()
  closing.code = (await service.ended()).code
  stop()
  await Promise.all(pending)
  client.close()
  return closing
}

export default { name: 'sigterm', title: 'SIGTERM cuts no accepted request off', run } satisfies Scenario
