import t from 'tap'
import { post, request, startService } from '../helper.ts'
import { sendRaw } from '../support/raw-http.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off' })
const OURS = /^[0-9a-f]{12}-[0-9a-z]+$/

t.test('x-request-id is returned as it was sent, on success and in problems, on both listeners', async (t) => {
  for (const id of ['a', 'req-1/2:3,4;"5"', '~'.repeat(128)]) {
    const headers = { 'x-request-id': id }
    t.equal((await post(service.url, undefined, headers)).headers.get('x-request-id'), id, 'POST')
    t.equal((await request(service.url, { headers })).headers.get('x-request-id'), id, 'GET')
    t.equal(
      (await request(`${service.operationsUrl}/livez`, { headers })).headers.get('x-request-id'),
      id,
      'operations'
    )
    for (const base of [service.url, service.operationsUrl]) {
      const problem = await request(`${base}/not/here`, { headers })
      t.equal(problem.headers.get('x-request-id'), id)
      t.equal(problem.body.requestId, id)
    }
  }
})

t.test('a missing, empty, long, spaced, non-ASCII or repeated x-request-id is replaced by one of ours', async (t) => {
  const seen = new Set<string>()
  for (const lines of [
    '',
    'X-Request-Id:\r\n',
    `X-Request-Id: ${'a'.repeat(129)}\r\n`,
    'X-Request-Id: a b\r\n',
    'X-Request-Id: \xe9\r\n',
    'X-Request-Id: a\tb\r\n',
    'X-Request-Id: a\r\nX-Request-Id: b\r\n'
  ]) {
    const { status, headers, text } = await sendRaw(
      service.url,
      `GET /0 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n${lines}\r\n`
    )
    t.equal(status, 400)
    t.match(headers['x-request-id'], OURS, JSON.stringify(lines))
    t.equal(JSON.parse(text).requestId, headers['x-request-id'])
    seen.add(headers['x-request-id']!)
  }
  t.equal(seen.size, 7, 'each its own')
})
