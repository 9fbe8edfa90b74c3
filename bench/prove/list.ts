import { get } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { ObjectId } from 'mongodb'
import type { Order } from '../../schemas/order.ts'
import { addressesIn, withOrders } from '../rig/parts.ts'
import { rssMegabytes } from '../rig/processes.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { startService, type Service } from '../rig/service.ts'

const ORDERS = 200_000
const INSERT_ORDERS = 5_000
const GROWTH_MB_MAX = 100
const FIRST_BYTE_MS_MAX = 1_000
const SAMPLE_MS = 50
/** Some ten seconds for the whole list, with pauses in which the socket is full. */
const SLOW_BYTES_PER_SECOND = 5_000_000

async function run ({ dir, figure, expect }: Bench): Promise<void> {
  const service = await startService(dir)
  await fill(addressesIn(dir).mongoUrl)
  for (const [reader, bytesPerSecond] of [['fast', Infinity], ['slow', SLOW_BYTES_PER_SECOND]] as const) {
    const { status, firstByteMs, totalMs, bytes, body, before, peak } = await read(service, bytesPerSecond)
    figure(
      `${reader} reader: first byte ${round(firstByteMs)} ms, ${round(bytes / 1e6, 1)} MB in ${round(totalMs)} ms (${round((ORDERS / totalMs) * 1000)} orders/s), RSS ${round(before)} MB, at most +${round(peak - before)} MB`
    )
    expect(status === 200, `the ${reader} reader got ${status}`)
    expect(firstByteMs < FIRST_BYTE_MS_MAX, `the ${reader} reader's first byte took ${round(firstByteMs)} ms`)
    expect(peak - before < GROWTH_MB_MAX, `the ${reader} reader made the service grow by ${round(peak - before)} MB`)
    const orders: Order[] = JSON.parse(body.toString())
    expect(orders.length === ORDERS, `the ${reader} reader got ${orders.length} orders`)
    expect(
      orders.every(({ _id }, index) => index === 0 || orders[index - 1]!._id < _id),
      `the ${reader} reader's orders are not in ascending order`
    )
  }
  await service.stop()
}

/** Without a traceparent: they get no event, so that the service does nothing else while it lists them. */
async function fill (mongoUrl: string): Promise<void> {
  await withOrders(mongoUrl, async (orders) => {
    for (let first = 0; first < ORDERS; first += INSERT_ORDERS) {
      const now = new Date()
      await orders.insertMany(Array.from({ length: INSERT_ORDERS }, (_value, index) => ({
        _id: new ObjectId(),
        userId: `buyer-${first + index}`,
        products: [{ _id: `product-${index % 1_000}`, quantity: 1 }, { _id: `product-${index % 77}`, quantity: 2 }],
        createdAt: now,
        updatedAt: now
      })) as never[], { ordered: false })
    }
  })
}

async function read ({ url, pid }: Service, bytesPerSecond: number) {
  const before = rssMegabytes(pid)
  let peak = before
  const sampling = setInterval(() => { peak = Math.max(peak, rssMegabytes(pid)) }, SAMPLE_MS)
  const start = performance.now()
  let firstByteMs = NaN
  let bytes = 0
  const chunks: Buffer[] = []
  try {
    const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
      get(`${url}/orders`, { agent: false }, resolve).on('error', reject)
    })
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (bytes === 0) firstByteMs = performance.now() - start
      bytes += chunk.length
      chunks.push(chunk)
      const ahead = bytes / bytesPerSecond * 1000 - (performance.now() - start)
      if (ahead > SAMPLE_MS) await delay(ahead)
    }
    return {
      status: response.statusCode,
      firstByteMs,
      totalMs: performance.now() - start,
      bytes,
      body: Buffer.concat(chunks),
      before,
      peak
    }
  } finally {
    clearInterval(sampling)
  }
}

export default { name: 'list', title: `GET / of ${round(ORDERS)} orders in constant memory`, run } satisfies Scenario
