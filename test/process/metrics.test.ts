import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { eventually, metric, post, startService } from '../helper.ts'

const service = await startService(t, { GATEWAY_URL: 'http://127.0.0.1:1' }) // it has metrics of its own
const value = (series: string): Promise<number | undefined> => metric(service, series)
const count = (labels: string): Promise<number | undefined> => value(`http_request_duration_seconds_count{${labels}}`)

t.test('requests are counted by route template, method and status', async (t) => {
  const { body } = await post(`${service.url}/orders`)
  await fetch(`${service.url}/orders/${body._id}`)
  await fetch(`${service.url}/${body._id}`)
  await fetch(`${service.url}/${'0'.repeat(24)}`)
  await fetch(`${service.url}/orders/${body._id}`, { method: 'HEAD' })
  t.equal(await count('method="POST",route="/orders",status_code="201"'), 1)
  t.equal(await count('method="GET",route="/orders/:id",status_code="200"'), 1)
  t.equal(await count('method="GET",route="/:id",status_code="200"'), 1)
  t.equal(await count('method="GET",route="/:id",status_code="404"'), 1)
  t.equal(await count('method="HEAD",route="/orders/:id",status_code="200"'), 1)
  const text = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  t.notOk(text.includes(body._id), 'no id is a label')
})

t.test('paths that are no route are one series, however many there are', async (t) => {
  for (const path of ['/a/b', '/c/d', '/e/f/g']) await fetch(service.url + path)
  t.equal(await count('method="GET",route="__unknown__",status_code="404"'), 3)
  await fetch(service.url, { method: 'PUT' })
  t.equal(await count('method="PUT",route="__unknown__",status_code="405"'), 1)
})

t.test('1 ms can be told from 5 ms', async (t) => {
  const text = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  const bounds = [...text.matchAll(/^http_request_duration_seconds_bucket\{le="([\d.]+)",method="POST"/gm)].map(
    ([, le]) => Number(le)
  )
  t.ok(bounds.filter((bound) => bound >= 0.001 && bound <= 0.005).length >= 3)
})

t.test('a client that goes away before its answer is counted', async () => {
  const { hostname, port } = new URL(service.url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(
    'POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"userId":'
  )
  await eventually(async () => {
    socket.destroy()
    return await value('http_requests_aborted_total{method="POST",route="/orders"}') === 1
  }, 5_000, 'an aborted request')
})

t.test('every metric that the documentation names is there', async (t) => {
  const rows = readFileSync('docs/reference/metrics.md', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
  const names = rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([a-z_]+)/g)].map(([, name]) => name!))
  t.ok(names.length > 12)
  const text = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  for (const name of names) t.match(text, new RegExp(`^${name}`, 'm'))
})

t.test('two services in one process count each for itself', async (t) => {
  const other = await startService(t)
  await post(`${other.url}/orders`)
  t.equal(await metric(other, 'orders_created_total'), 1)
  t.equal(await value('orders_created_total'), 1)
})
