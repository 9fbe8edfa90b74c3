import t from 'tap'
import { aNewOrder, post, startService } from '../helper.ts'
import { sendRaw } from '../support/raw-http.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
const ofList = 'GET, HEAD, OPTIONS, POST'
const ofOrder = 'GET, HEAD, OPTIONS'
const PATHS: [url: string, allow: string][] = [
  [`${service.url}/`, ofList],
  [`${service.url}/orders`, ofList],
  [`${service.url}/orders/`, ofList],
  [`${service.url}/orders?limit=1`, ofList],
  [`${service.url}/${'0'.repeat(24)}`, ofOrder],
  [`${service.url}/orders/${'0'.repeat(24)}`, ofOrder],
  [`${service.url}/orders/anything`, ofOrder],
  [`${service.operationsUrl}/metrics`, ofOrder],
  [`${service.operationsUrl}/readyz?x`, ofOrder]
]

t.test('a known path says which methods it takes, with 405 or to OPTIONS', async (t) => {
  for (const [url, allow] of PATHS) {
    const methods = ['PUT', 'PATCH', 'DELETE', 'PROPFIND', ...(allow === ofOrder ? ['POST'] : [])]
    for (const method of methods) {
      const response = await fetch(url, { method })
      t.equal(response.status, 405, `${method} ${url}`)
      t.equal(response.headers.get('allow'), allow, `${method} ${url}`)
      t.match(await response.json(), { code: 'METHOD_NOT_ALLOWED', status: 405 })
    }
    const options = await fetch(url, { method: 'OPTIONS' })
    t.equal(options.status, 204, url)
    t.equal(options.headers.get('allow'), allow, url)
    t.ok(options.headers.has('x-request-id'))
    t.equal(await options.text(), '')
  }
})

t.test('a body that nobody would take is not looked at', async (t) => {
  for (const [body, type] of [['{', 'application/json'], ['x', 'text/plain'], ['', 'application/json']] as const) {
    const response = await fetch(`${service.url}/orders`, { method: 'PUT', body, headers: { 'content-type': type } })
    t.equal(response.status, 405)
  }
  const raw = await sendRaw(
    service.url,
    'PUT /orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n'
  )
  t.equal(raw.status, 405)
  t.equal((await post(`${service.url}/orders`, aNewOrder)).status, 201)
})

t.test('the server as a whole, and what is not there at all', async (t) => {
  const options = (path: string): string => `OPTIONS ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`
  const whole = await sendRaw(service.url, options('*'))
  t.equal(whole.status, 204)
  t.equal(whole.headers.allow, ofList)
  for (const path of ['/a/b', '/orders/a/b']) t.equal((await sendRaw(service.url, options(path))).status, 404, path)
})
