import t, { type Test } from 'tap'
import { STATUS_CODES } from 'node:http'
import { aNewOrder, startService } from '../helper.ts'
import { rawPost, sendRaw, type RawAnswer } from '../support/raw-http.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
const order = JSON.stringify(aNewOrder)
const listeners = [['the API', service.url], ['operations', service.operationsUrl]] as const
const FIELDS = ['type', 'title', 'status', 'detail', 'code', 'message', 'requestId', 'errors', 'instance']
/** What isn't HTTP has no path. */
const WITHOUT_PATH = ['BAD_REQUEST', 'HEADERS_TOO_LARGE', 'REQUEST_TIMEOUT']

/** A problem, the whole problem and nothing but the problem. */
function isProblem (t: Test, { status, headers, text }: RawAnswer, expected: number, code: string, what: string): void {
  t.equal(status, expected, what)
  t.equal(headers['content-type'], 'application/problem+json; charset=utf-8', what)
  t.notMatch(text, /\bat .*:\d+:\d+|node_modules|\.[jt]s\b/, `${what}: no stack trace`)
  t.equal(Number(headers['content-length']), Buffer.byteLength(text))
  const problem = JSON.parse(text)
  t.strictSame(
    Object.keys(problem),
    FIELDS.filter((field) => field !== 'instance' || !WITHOUT_PATH.includes(code)),
    what
  )
  t.equal(problem.type, `urn:order-service:problem:${code.toLowerCase().replaceAll('_', '-')}`)
  t.equal(problem.title, STATUS_CODES[expected])
  t.equal(problem.status, expected)
  t.equal(problem.code, code, what)
  t.ok(problem.detail.length > 0)
  t.equal(problem.message, problem.detail)
  t.equal(problem.requestId, headers['x-request-id'])
  t.ok(Array.isArray(problem.errors))
}

const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`
const postOf = (lines: string, body = ''): string =>
  `POST /orders HTTP/1.1\r\nHost: test\r\nConnection: close\r\n${lines}\r\n${body}`
const json = 'Content-Type: application/json\r\n'

t.test('an unknown route is a 404 problem on both listeners', async (t) => {
  for (const [name, url] of listeners) {
    for (const [method, path] of [
      ['GET', '/a/b'],
      ['PUT', '/orders/a/b'],
      ['OPTIONS', '/a/b'],
      ['PROPFIND', '/a/b']
    ] as const) {
      const answer = await sendRaw(url, `${method} ${path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n`)
      isProblem(t, answer, 404, 'ROUTE_NOT_FOUND', `${method} ${path} on ${name}`)
      t.equal(JSON.parse(answer.text).instance, path)
    }
  }
})

t.test('an unknown order is 404, and what is no id at all is 400', async (t) => {
  const unknown = 'F'.repeat(24)
  for (const prefix of ['/', '/orders/']) {
    isProblem(t, await sendRaw(service.url, get(prefix + unknown)), 404, 'ORDER_NOT_FOUND', unknown)
    for (const id of [
      '0',
      'f'.repeat(23),
      'f'.repeat(25),
      'g'.repeat(24),
      '1'.repeat(200),
      '1'.repeat(10_000),
      '%20',
      '%00',
      `${'f'.repeat(23)}%C3%A9`,
      '..%2f',
      'f'.repeat(24) + '%0a',
      '$where'
    ]) {
      const answer = await sendRaw(service.url, get(prefix + id))
      isProblem(t, answer, 400, 'VALIDATION_FAILED', `${prefix}${id.slice(0, 30)}`)
      t.strictSame(JSON.parse(answer.text).errors, [
        { parameter: 'id', detail: 'The id in the path must be 24 hex digits.' }
      ])
    }
  }
})

t.test('a path that is no URL path is 400 on both listeners', async (t) => {
  for (const [name, url] of listeners) {
    for (const path of ['/%', '/%zz', '/%f', '/%ff', '/orders/%E0%A4%A', '/a/%c3%28']) {
      isProblem(t, await sendRaw(url, get(path)), 400, 'BAD_URL', `${path} on ${name}`)
    }
  }
})

t.test('a body above 256 KiB is 413, announced or found out on the way', async (t) => {
  const size = 256 * 1024 + 1
  isProblem(t, await sendRaw(service.url, rawPost(' '.repeat(size))), 413, 'BODY_TOO_LARGE', 'sent')
  isProblem(
    t,
    await sendRaw(service.url, postOf(`${json}Content-Length: ${size}\r\n`)),
    413,
    'BODY_TOO_LARGE',
    'told by Content-Length'
  )
  isProblem(
    t,
    await sendRaw(
      service.url,
      postOf(`${json}Transfer-Encoding: chunked\r\n`, `${size.toString(16)}\r\n${' '.repeat(size)}\r\n0\r\n\r\n`)
    ),
    413,
    'BODY_TOO_LARGE',
    'chunked'
  )
  const padded = order.padEnd(size - 1)
  t.equal((await sendRaw(service.url, rawPost(padded))).status, 201, 'while 256 KiB are accepted')
})

t.test('a body that is not plain JSON is 415', async (t) => {
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/xml',
    'application/jsonp',
    'application/json5',
    'text/json',
    'rubbish',
    ''
  ]) {
    isProblem(
      t,
      await sendRaw(service.url, postOf(`Content-Type: ${type}\r\nContent-Length: ${order.length}\r\n`, order)),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
      `Content-Type: ${type}`
    )
  }
  isProblem(
    t,
    await sendRaw(service.url, postOf(`Content-Length: ${order.length}\r\n`, order)),
    415,
    'UNSUPPORTED_MEDIA_TYPE',
    'no Content-Type'
  )
  for (const encoding of ['gzip', 'br', 'identity', '']) {
    isProblem(
      t,
      await sendRaw(service.url, rawPost(order, [`Content-Encoding: ${encoding}`])),
      415,
      'CONTENT_ENCODING_UNSUPPORTED',
      `Content-Encoding: ${encoding}`
    )
  }
  t.equal(
    (
      await sendRaw(
        service.url,
        postOf(`Content-Type: Application/JSON; Charset=UTF-8\r\nContent-Length: ${order.length}\r\n`, order)
      )
    ).status,
    201,
    'while a charset and capitals are fine'
  )
})

t.test('a POST without a body is 400 or 415, never an order', async (t) => {
  isProblem(t, await sendRaw(service.url, postOf(`${json}Content-Length: 0\r\n`)), 400, 'INVALID_JSON', 'an empty body')
  isProblem(t, await sendRaw(service.url, postOf(json)), 400, 'INVALID_JSON', 'no Content-Length')
  isProblem(t, await sendRaw(service.url, postOf('')), 400, 'VALIDATION_FAILED', 'neither body nor type')
})

t.test('what is not HTTP is 400 on the socket of both listeners', async (t) => {
  for (const [name, url] of listeners) {
    for (const [what, bytes] of [
      ['rubbish', 'rubbish\r\n\r\n'],
      ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
      ['an unknown method', 'HACK / HTTP/1.1\r\nHost: test\r\n\r\n'],
      ['HTTP/9.9', 'GET / HTTP/9.9\r\nHost: test\r\n\r\n'],
      // Node.js lets them through before 20.19.2, which brought llhttp 9.
      ...(parseInt(process.versions.llhttp!) < 9
        ? []
        : [['a space in a header name', 'GET / HTTP/1.1\r\nHost: test\r\nA B: c\r\n\r\n'] as const]),
      ['a control character in a header', 'GET / HTTP/1.1\r\nHost: test\r\nA: \x01\r\n\r\n'],
      ['two lengths', 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'],
      [
        'a length and chunks',
        'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n'
      ],
      ['a negative length', 'POST / HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n']
    ] as const) { isProblem(t, await sendRaw(url, bytes), 400, 'BAD_REQUEST', `${what} on ${name}`) }
    isProblem(
      t,
      await sendRaw(url, 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n'),
      400,
      'HOST_MISSING',
      `no Host on ${name}`
    )
    t.not((await sendRaw(url, 'GET /livez HTTP/1.0\r\n\r\n')).headers['content-type'], undefined, 'HTTP/1.0 needs none')
  }
  isProblem(
    t,
    await sendRaw(service.url, postOf(`${json}Transfer-Encoding: chunked\r\n`, 'xyz\r\n')),
    400,
    'BAD_REQUEST',
    'broken chunks'
  )
})

t.test('a head that is too large is 431 on both listeners', async (t) => {
  for (const [name, url] of listeners) {
    isProblem(
      t,
      await sendRaw(url, `GET / HTTP/1.1\r\nHost: test\r\nA: ${'a'.repeat(17_000)}\r\n\r\n`),
      431,
      'HEADERS_TOO_LARGE',
      `a header on ${name}`
    )
    isProblem(t, await sendRaw(url, get(`/${'a'.repeat(17_000)}`)), 431, 'HEADERS_TOO_LARGE', `a path on ${name}`)
  }
})

t.test('an expectation other than 100-continue is 417 on both listeners', async (t) => {
  for (const [name, url] of listeners) {
    isProblem(
      t,
      await sendRaw(url, postOf(`${json}Expect: a-miracle\r\nContent-Length: ${order.length}\r\n`, order)),
      417,
      'EXPECTATION_FAILED',
      name
    )
  }
  const { text } = await sendRaw(service.url, rawPost(order, ['Expect: 100-continue']))
  t.match(text, /^HTTP\/1.1 201 Created/, 'after HTTP/1.1 100 Continue')
})

t.test('a request that stops half-way is 408 within 13 s on both listeners', { timeout: 30_000 }, async (t) => {
  const halves = listeners
    .flatMap(
      ([name, url]) =>
        [
          ['one byte of a head', 'G', name, url],
          ['half a head', 'GET / HTTP/1.1\r\nHost: te', name, url],
          ['half a body', postOf(`${json}Content-Length: 100\r\n`, '{"userId"'), name, url]
        ] as const
    )
    .filter(([what, , name]) => what !== 'half a body' || name === 'the API')
  await Promise.all(halves.map(async ([what, bytes, name, url]) => {
    isProblem(t, await sendRaw(url, bytes, 13_000), 408, 'REQUEST_TIMEOUT', `${what} on ${name}`)
  }))
})
