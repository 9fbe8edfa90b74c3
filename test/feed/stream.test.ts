import { connect } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { startFeedListener, type FeedListener, type FeedListenerOptions } from '../../bench/clients/feed-listener.ts'
import type { OrderEvent } from '../../schemas/event.ts'
import { encodePosition } from '../../src/feed/position.ts'
import { leads } from '../support/faults.ts'
import { eventRecords, headersOf } from '../support/feed.ts'
import { kafka, put } from '../support/relays.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { aNewOrder, eventually, metric, newNamespace, post, request, startService } from '../helper.ts'

const namespace = newNamespace()
const one = await startService(t, {}, namespace)
await eventually(() => leads(one), 30_000, 'a leader')
const other = await startService(t, {}, namespace)

async function listen (t: Test, url: string, options: FeedListenerOptions = {}): Promise<FeedListener> {
  const listener = startFeedListener(() => url, options)
  t.teardown(() => listener.stop())
  await eventually(() => (listener.connections > 0 && listener.lastId !== undefined) || listener.refused.length > 0, 10_000, 'an answer')
  return listener
}

async function newOrders (count: number, userId = 'user-1'): Promise<string[]> {
  return (await Promise.all(Array.from({ length: count }, () => post(`${one.url}/orders`, { ...aNewOrder, userId }))))
    .map(({ body }) => body._id)
}

async function hasAll (listener: FeedListener, ids: string[]): Promise<void> {
  await eventually(() => listener.events.length >= ids.length, 20_000, 'the events')
}

t.test('orders come as they are published, on every replica and under both paths', async (t) => {
  const urls = [one, other].flatMap(({ url }) => [`${url}/orders/stream`, `${url}/stream`])
  const listeners = await Promise.all(urls.map((url) => listen(t, url)))
  const ids = await newOrders(20)
  for (const listener of listeners) {
    await hasAll(listener, ids)
    t.strictSame(listener.orderIds().sort(), [...ids].sort())
    t.ok(listener.events.every(({ event }) => event === 'order-placed'))
  }
  const { data } = listeners[0]!.events[0]!
  const event = JSON.parse(data) as OrderEvent
  t.strictSame(event.payload, (await request(`${one.url}/orders/${event.orderId}`)).body)
})

t.test('the answer says that it is a stream that nobody keeps', async (t) => {
  const ending = new AbortController()
  const { status, headers } = await fetch(`${one.url}/orders/stream`, { signal: ending.signal })
  t.equal(status, 200)
  t.equal(headers.get('content-type'), 'text/event-stream')
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal(headers.get('x-accel-buffering'), 'no')
  t.ok(headers.get('x-request-id'))
  ending.abort()
  const head = await fetch(`${one.url}/orders/stream`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-type'), 'text/event-stream')
  const posted = await fetch(`${one.url}/orders/stream`, { method: 'POST' })
  t.equal(posted.status, 405)
  t.match(posted.headers.get('allow'), /\bGET\b/)
})

t.test('who comes again has each order once: on any replica, by any of its ids, by header or parameter', async (t) => {
  const listener = await listen(t, `${one.url}/orders/stream`)
  const start = listener.lastId!
  const ids = await newOrders(12)
  await hasAll(listener, ids)
  const seen = listener.orderIds()
  for (const { url } of [one, other]) {
    for (const count of [0, 1, 6, 11]) {
      const lastEventId = count === 0 ? start : listener.events[count - 1]!.id
      const again = await listen(t, `${url}/orders/stream`, { lastEventId })
      await hasAll(again, ids.slice(count))
      t.strictSame([...seen.slice(0, count), ...again.orderIds()].sort(), [...ids].sort(), `after ${count}`)
      await again.stop()
    }
    const byParameter = await listen(t, `${url}/orders/stream?after=${start}`)
    await hasAll(byParameter, ids)
    t.strictSame(byParameter.orderIds().sort(), [...ids].sort())
    const both = await listen(t, `${url}/orders/stream?after=${start}`, { lastEventId: listener.lastId! })
    const more = await newOrders(1)
    await hasAll(both, more)
    t.strictSame(both.orderIds(), more, 'the header goes before the parameter')
    ids.push(...more)
    await hasAll(listener, ids)
  }
})

t.test('who wants the orders of a user gets these', async (t) => {
  const userId = 'Jörg 💶'
  const start = (await listen(t, `${one.url}/orders/stream`)).lastId!
  const live = await listen(t, `${other.url}/orders/stream?userId=${encodeURIComponent(userId)}`)
  await newOrders(5)
  const ids = await newOrders(3, userId)
  await newOrders(5)
  const later = await listen(t, `${one.url}/orders/stream?userId=${encodeURIComponent(userId)}&after=${start}`)
  for (const listener of [live, later]) {
    await hasAll(listener, ids)
    t.strictSame(listener.orderIds().sort(), [...ids].sort())
  }
})

t.test('what is no id of the feed is refused', async (t) => {
  const url = `${one.url}/orders/stream`
  const known = (await listen(t, url)).lastId!
  const refused: [id: string, status: number, code: string][] = [
    ['', 400, 'VALIDATION_FAILED'],
    ['1,2', 400, 'VALIDATION_FAILED'],
    ['a'.repeat(8_193), 400, 'VALIDATION_FAILED'],
    ['a', 400, 'FEED_POSITION_MALFORMED'],
    [`${known}A`, 400, 'FEED_POSITION_MALFORMED'],
    [Buffer.from([128]).toString('base64url'), 400, 'FEED_POSITION_MALFORMED'],
    [Buffer.alloc(9, 255).toString('base64url'), 400, 'FEED_POSITION_MALFORMED'],
    [encodePosition([1, 1, Number.MAX_SAFE_INTEGER]), 410, 'FEED_POSITION_GONE'],
    [encodePosition([0, 0, 0, 0]), 410, 'FEED_POSITION_GONE']
  ]
  for (const [id, status, code] of refused) {
    const byParameter = await request(`${url}?after=${id}`)
    t.equal(byParameter.status, status, id)
    t.equal(byParameter.body.code, code, id)
    if (status === 400) t.equal(byParameter.body.errors?.[0]?.parameter, 'after', id)
    if (id === '') continue // which is no header
    const byHeader = await request(url, { headers: { 'last-event-id': id } })
    t.equal(byHeader.status, status, id)
    t.equal(byHeader.body.code, code, id)
    if (status === 400) t.equal(byHeader.body.errors?.[0]?.header, 'last-event-id', id)
    if (code === 'VALIDATION_FAILED') t.match(byHeader.body.detail, /last-event-id must be the id of an event/)
  }
  const queries = [
    ['userId=', 'VALIDATION_FAILED'], ['limit=1', 'VALIDATION_FAILED'], ['after=a&after=a', 'PARAMETER_REPEATED'],
    ['userId=%ff', 'QUERY_MALFORMED']
  ] as const
  for (const [query, code] of queries) {
    const { status, body } = await request(`${url}?${query}`)
    t.equal(status, 400, query)
    t.equal(body.code, code, query)
  }
})

t.test('where retention has removed what came next, it says so before a stream begins', async (t) => {
  const lastId = (await listen(t, `${one.url}/orders/stream`)).lastId!
  await newOrders(30)
  const offsets = await withAdmin(kafka, 'offsets', (admin) => admin.fetchTopicOffsets(namespace))
  await withAdmin(kafka, 'retention', async (admin) => {
    await admin.fetchTopicMetadata({ topics: [namespace] })
    const partitions = offsets.map(({ partition, high }) => ({ partition, offset: high }))
    await admin.deleteTopicRecords({ topic: namespace, partitions })
  })
  const late = await startService(t, {}, namespace)
  const { status, body } = await request(`${late.url}/orders/stream?after=${lastId}`)
  t.equal(status, 410)
  t.equal(body.code, 'FEED_POSITION_GONE')
})

t.test('what is no order event, or was replayed, is none of the feed\'s, and a line break breaks nothing', async (t) => {
  const listener = await listen(t, `${one.url}/orders/stream`)
  const [id] = await newOrders(1)
  await hasAll(listener, [id!])
  const { data } = listener.events[0]!
  const headers = headersOf(id!)
  const value = JSON.stringify(JSON.parse(data), null, '\r\n')
  await put(namespace, [
    { key: 'other', value: 'data: x\n\ndata: y' },
    { key: id!, value: data, headers: { ...headers, replay: 'true' } },
    { key: id!, value, headers }
  ])
  await eventually(() => listener.events.length === 2, 10_000, 'the event')
  await newOrders(1)
  await eventually(() => listener.events.length === 3, 10_000, 'the next one')
  t.equal(listener.events[1]!.data, data)
})

t.test('it is told how many listen, and who is one too many', async (t) => {
  const service = await startService(t, { FEED_CLIENTS_MAX: 2 }, namespace)
  const url = `${service.url}/orders/stream`
  const listeners = [await listen(t, url), await listen(t, url)]
  t.equal(await metric(service, 'feed_clients'), 2)
  const { status, body, headers } = await request(url)
  t.equal(status, 503)
  t.equal(body.code, 'FEED_FULL')
  t.ok(headers.get('retry-after'))
  t.equal(await metric(service, 'requests_shed_total{reason="feed"}'), 1)
  await listeners[0]!.stop()
  await eventually(async () => await metric(service, 'feed_clients') === 1, 10_000, 'a place')
  const metrics = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  t.notMatch(metrics, /^http_\w+\{.*stream/m, 'no request is measured by its end')
  t.equal((await listen(t, url)).refused.length, 0)
})

t.test('who goes away at once, or while it is read for, gives its place back', async (t) => {
  const service = await startService(t, {}, namespace)
  const { hostname, port } = new URL(service.url)
  const old = (await listen(t, `${other.url}/orders/stream`)).lastId
  await newOrders(20)
  for (let each = 0; each < 30; each++) {
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    socket.write(`GET /orders/stream${each % 2 === 0 ? '' : `?after=${old}`} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    if (each % 3 === 0) await once(socket, 'data')
    socket.destroy()
  }
  await eventually(async () => await metric(service, 'feed_clients') === 0, 10_000, 'their places')
  const full = await startService(t, { FEED_CLIENTS_MAX: 1 }, namespace)
  for (let each = 0; each < 5; each++) {
    const socket = connect(Number(new URL(full.url).port), hostname)
    await once(socket, 'connect')
    socket.write('GET /orders/stream HTTP/1.1\r\nHost: localhost\r\n\r\n')
    socket.destroy()
  }
  const last = startFeedListener(() => `${full.url}/orders/stream`, { retryMs: 50 })
  t.teardown(() => last.stop())
  await eventually(() => last.lastId, 10_000, 'the only place')
})

t.test('who takes nothing of its answer is cut off', async (t) => {
  const service = await startService(t, {}, newNamespace())
  await eventually(() => leads(service), 30_000, 'a leader')
  const { hostname, port } = new URL(service.url)
  const socket = connect(Number(port), hostname).on('error', () => {})
  t.teardown(() => socket.destroy())
  socket.write('GET /orders/stream HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(socket, 'data')
  socket.pause()
  const quick = await listen(t, `${service.url}/orders/stream`)
  let count = 0
  const more = async (): Promise<void> => {
    await put(service.namespace, eventRecords(1_000))
    count += 1_000
  }
  for (let round = 0; round < 30; round++) await more() // 18 MB: more than sockets' buffers and what is held
  await eventually(async () => {
    await more()
    return await metric(service, 'feed_clients_cut_total') === 1
  }, 20_000, 'its end')
  await hasAll(quick, new Array(count))
  t.equal(quick.connections, 1)
})

t.test('it can be switched off, and a process without Kafka says so', async (t) => {
  const off = await startService(t, { FEED_CLIENTS_MAX: 0 }, namespace)
  t.match(await request(`${off.url}/orders/stream`), { status: 404, body: { code: 'FEED_OFF' } })
  t.equal((await fetch(`${off.url}/orders/stream`, { method: 'HEAD' })).status, 404)
  const without = await startService(t, { KAFKA_BROKERS: 'off' }, namespace)
  t.match(await request(`${without.url}/orders/stream`), { status: 503, body: { code: 'FEED_UNAVAILABLE' } })
  t.equal((await fetch(`${without.url}/orders/stream`, { method: 'HEAD' })).status, 503)
})

t.test('when the process ends, the streams end whole, and their clients go on elsewhere', async (t) => {
  const service = await startService(t, {}, namespace)
  let url = service.url
  const listener = startFeedListener(() => `${url}/orders/stream`, { retryMs: 20 })
  t.teardown(() => listener.stop())
  await eventually(() => listener.lastId, 10_000, 'the stream')
  const before = await newOrders(5)
  url = other.url
  const [, after] = await Promise.all([service.close(), newOrders(5)])
  await hasAll(listener, [...before, ...after])
  t.strictSame(listener.orderIds().sort(), [...before, ...after].sort())
  t.equal(listener.connections, 2)
})
