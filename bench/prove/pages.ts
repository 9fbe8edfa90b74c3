import { ObjectId, type Document } from 'mongodb'
import type { Order } from '../../schemas/order.ts'
import { firstIdOf } from '../../src/encoding/order-id.ts'
import { commandOf, type PageQuery } from '../../src/reads/page-query.ts'
import { startOrders } from '../check/paced-orders.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { createClient, type Client } from '../clients/client.ts'
import { percentile } from '../clients/open-loop.ts'
import { preloaded } from '../crash/preloads.ts'
import { startParts, withOrders } from '../rig/parts.ts'
import { startReplicas, type Replica } from '../rig/replicas.ts'
import { eventually } from '../rig/service.ts'

const ORDERS = 1_000_000
const INSERT_ORDERS = 10_000
const USERS = 10_000
const PRODUCTS = 1_000
/** Ten in each second, so that all were stored in the day before. */
const PER_SECOND = 10
const REPLICAS_AHEAD_MS = [-2_000, 0, 2_000]
const POSTS_PER_SECOND = 500
const PAGE = 100
const FAR_PAGE = 10_000
const ROUNDS = 300
const RATIO_MAX = 1.2
/** Examined beyond 1.1 times what is returned: one more to see whether a page follows, and the seconds at the ends. */
const EXAMINED_MORE_MAX = 1 + 2 * PER_SECOND
const INDEX_MS_MAX = 300_000

async function run (bench: Bench): Promise<void> {
  const { dir, figure, detail, expect } = bench
  const { urls } = await startParts({ dir, fresh: true })
  const began = Math.floor(Date.now() / 1000) - ORDERS / PER_SECOND - 60
  await withOrders(urls.mongo!, (orders) => fill(orders as never, began))
  const replicas = await startReplicas({
    dir,
    count: REPLICAS_AHEAD_MS.length,
    urls: { mongo: urls.mongo!, redis: urls.redis!, kafka: urls.kafka! },
    settings: { ORDER_INDEXES: 'all' }
  })
  for (const [index, replica] of replicas.all.entries()) {
    await replica.service.stop()
    await replica.start(`${preloaded('clock')}?aheadMs=${REPLICAS_AHEAD_MS[index]}`)
  }
  await withOrders(urls.mongo!, (orders) =>
    eventually('the indexes', INDEX_MS_MAX, async () => (await orders.indexes()).length === 4))

  await withOrders(urls.mongo!, async (orders) => {
    for (const [name, query] of queriesFrom(began)) {
      const { limit, ...command } = commandOf('orders', { limit: PAGE, ...query })
      const { executionStats: stats } = await orders.db.command({
        explain: { ...command, limit }, verbosity: 'executionStats'
      }) as { executionStats: Document }
      detail(`${name}: ${stats.nReturned} returned, ${stats.totalKeysExamined} keys and ${stats.totalDocsExamined} documents examined`)
      const most = 1.1 * stats.nReturned + EXAMINED_MORE_MAX
      expect(stats.totalKeysExamined <= most && stats.totalDocsExamined <= most, `${name} examined too much`)
    }
  })
  await compareFarPages(bench, replicas.all[1]!, began)

  const load = startOrders(replicas.all, POSTS_PER_SECOND)
  const before = load.created
  await eventually('orders', 30_000, () => before.size > POSTS_PER_SECOND)
  const known = [...before.keys()]
  const clients = replicas.all.map(({ url }) => createClient(url, 1))
  for (const order of ['asc', 'desc']) {
    const start = performance.now()
    const { ids, pages } = await walk(clients, `limit=1000&order=${order}`)
    const seconds = (performance.now() - start) / 1000
    const unique = new Set(ids)
    const old = ids.filter((id) => isFilled(id)).length
    const skipped = known.filter((id) => !unique.has(id)).length
    figure(`${order}: ${round(pages)} pages, ${round(ids.length)} orders in ${round(seconds)} s over three replicas, ${ids.length - unique.size} twice, ${ORDERS - old + skipped} of the old skipped`)
    expect(ids.length === unique.size, 'an order came twice')
    expect(old === ORDERS && skipped === 0, 'an order was skipped that was stored when the walk began')
  }
  await load.stop()
  figure(`${round(load.created.size)} orders were stored meanwhile`)
  expect(load.failures.length === 0, `a POST failed: ${load.failures[0]}`)
  for (const client of clients) client.close()
}

/** Page 1 and page 10,000 in turns. */
async function compareFarPages ({ figure, expect }: Bench, replica: Replica, began: number): Promise<void> {
  const client = createClient(replica.service.url, 1)
  const after = idOf(began, (FAR_PAGE - 1) * PAGE - 1).toHexString()
  const near: number[] = []
  const far: number[] = []
  for (let each = 0; each < ROUNDS; each++) {
    for (const [ms, query] of [[near, `limit=${PAGE}`], [far, `limit=${PAGE}&after=${after}`]] as const) {
      const start = performance.now()
      const { status, body } = await client.send('GET', `/orders?${query}`)
      ms.push(performance.now() - start)
      if (status !== 200 || (JSON.parse(body) as Order[]).length !== PAGE) throw new Error(`${status} ${body}`)
    }
  }
  client.close()
  const [first, last] = [percentile(near, 0.5), percentile(far, 0.5)]
  figure(`page 1 ${round(first, 2)} ms, page ${round(FAR_PAGE)} ${round(last, 2)} ms (medians of ${ROUNDS}, in turns)`)
  expect(last <= RATIO_MAX * first, `page ${FAR_PAGE} takes ${round(last / first, 2)} times as long as page 1`)
}

async function walk (clients: Client[], query: string): Promise<{ ids: string[], pages: number }> {
  const ids: string[] = []
  let pages = 0
  for (let next: string | undefined = `?${query}`; next !== undefined; pages++) {
    const { status, body, headers } = await clients[pages % clients.length]!.send('GET', `/orders${next}`)
    if (status !== 200) throw new Error(`${status} ${body}`)
    for (const { _id } of JSON.parse(body) as Order[]) ids.push(_id)
    next = /^<(\?[^>]+)>; rel="next"$/.exec(String(headers.link))?.[1]
  }
  return { ids, pages }
}

function queriesFrom (began: number): [name: string, query: PageQuery][] {
  const after = idOf(began, ORDERS / 2).toHexString()
  const time = (second: number): string => new Date((began + second) * 1000).toISOString()
  const times = { createdFrom: time(40_000), createdTo: time(60_000) }
  const filters: [string, PageQuery][] = [
    ['all', {}], ['a user', { userId: 'user-77' }], ['a product', { productId: 'product-77' }]
  ]
  return filters.flatMap(([name, filter]) => (['asc', 'desc'] as const).flatMap((order): [string, PageQuery][] => [
    [`${name}, ${order}`, { ...filter, order }],
    [`${name}, ${order}, after`, { ...filter, order, after }],
    [`${name}, ${order}, a time`, { ...filter, order, ...times }]
  ]))
}

/** By a counter in place of an ObjectId's random bytes, which are never 0. */
function idOf (began: number, number: number): ObjectId {
  const second = firstIdOf(began + Math.floor(number / PER_SECOND)).slice(0, 8)
  return new ObjectId(second + number.toString(16).padStart(16, '0'))
}

function isFilled (id: string): boolean {
  return id.slice(8, 16) === '00000000'
}

interface Inserts { insertMany: (documents: object[], options: object) => Promise<unknown> }

/** Without a traceparent: they get no event. */
async function fill (orders: Inserts, began: number): Promise<void> {
  for (let first = 0; first < ORDERS; first += INSERT_ORDERS) {
    await orders.insertMany(Array.from({ length: INSERT_ORDERS }, (_, index) => {
      const number = first + index
      const at = new Date((began + number / PER_SECOND) * 1000)
      return {
        _id: idOf(began, number),
        userId: `user-${number % USERS}`,
        products: [
          { _id: `product-${number % PRODUCTS}`, quantity: 1 },
          { _id: `product-${number % 77}`, quantity: 2 }
        ],
        createdAt: at,
        updatedAt: at
      }
    }), { ordered: false })
  }
}

const title = `pages of ${round(ORDERS)} orders, while ${POSTS_PER_SECOND} a second come on three replicas whose clocks differ by 2 s`
export default { name: 'pages', title, run } satisfies Scenario
