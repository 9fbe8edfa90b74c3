import t, { type Test } from 'tap'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance } from 'fastify'
import http, { serverOptions } from '../../plugins/http.ts'
import problems from '../../plugins/problems.ts'
import { Overloaded } from '../../src/errors.ts'
import { aNewOrder, startService } from '../helper.ts'
import { rawPost, sendRaw } from '../support/raw-http.ts'

const RUBBISH = 'rubbish\r\n\r\n'
const HEAD = 'Host: test\r\nContent-Type: application/json\r\n'

/** A listener as the service's, whose requests time out soon, with routes that wait until `go` is called. */
async function startListener (t: Test) {
  const app = fastify({
    ...serverOptions,
    http: { ...serverOptions.http, headersTimeout: 200, connectionsCheckingInterval: 20 },
    requestTimeout: 300
  })
  let go = (): void => {}
  const going = new Promise<void>((resolve) => { go = resolve })
  async function * list (): AsyncGenerator<string> {
    yield '[1'
    await going
    yield ',2]'
  }
  app.register(http)
  app.register(problems)
  app.register(async (app: FastifyInstance) => {
    app.get('/list', async (_request, reply) => reply.type('application/json').send(Readable.from(list())))
    app.get('/fast', async () => 'fast')
    app.post('/slow', async (_request, reply) => {
      await going
      return await reply.code(201).send('stored')
    })
    app.post('/refused', { onRequest: async () => { throw new Overloaded() } }, async () => 'never')
  })
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, go, port, url: `http://127.0.0.1:${port}` }
}

const slowPost = `POST /slow HTTP/1.1\r\n${HEAD}Content-Length: 2\r\n\r\n{}`

t.test('a byte too many after an order never makes its answer a 400', async (t) => {
  const { url, db } = await startService(t, { REDIS_URL: 'off', KAFKA_BROKERS: 'off' })
  const body = JSON.stringify(aNewOrder)
  const bytes = Buffer.from(rawPost(body).toString('latin1').replace('Connection: close\r\n', '') + RUBBISH, 'latin1')
  const answers = await Promise.all(Array.from({ length: 20 }, () => sendRaw(url, bytes)))
  for (const { status, text } of answers) t.ok(status === 201 && text.endsWith('}'), `${status} ${text}`)
  t.equal(await db.collection('orders').countDocuments(), 20)
})

for (const [what, rest] of [
  ['rubbish', RUBBISH],
  ['half a head', 'GET /fast HT'],
  ['half a body', `POST /slow HTTP/1.1\r\n${HEAD}Content-Length: 9\r\n\r\n{`]
] as const) {
  t.test(
    `${what} after requests under way is answered by the end of the connection, after their answers`,
    async (t) => {
      const { app, go, url } = await startListener(t)
      const answered = sendRaw(url, `GET /fast HTTP/1.1\r\n${HEAD}\r\n${slowPost}${slowPost}${rest}`)
      await once(app.server, 'clientError')
      go()
      const { status, text } = await answered
      t.equal(status, 200)
      t.strictSame(
        [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
        ['201', '201']
      )
    }
  )

  t.test(`${what} after a list that is being sent leaves the list whole`, async (t) => {
    const { app, go, url } = await startListener(t)
    const answered = sendRaw(url, `GET /list HTTP/1.1\r\n${HEAD}\r\n${rest}`)
    await once(app.server, 'clientError')
    go()
    const { status, text } = await answered
    t.equal(status, 200)
    t.equal(text.replaceAll(/[0-9a-f]+\r\n(.*)\r\n/g, '$1'), '[1,2]', 'in whatever chunks')
    t.ok(text.endsWith('\r\n0\r\n\r\n'), 'to its end')
  })
}

t.test('a body that goes on being sent after its refusal gets no second answer', async (t) => {
  const { url } = await startListener(t)
  const { status, text } = await sendRaw(url, `POST /refused HTTP/1.1\r\n${HEAD}Content-Length: 9\r\n\r\n{`)
  t.equal(status, 503)
  t.notMatch(text, 'HTTP/1.1', 'one answer')
})

t.test('rubbish on an idle connection, which asked before, is a 400 of its own', async (t) => {
  const { port } = await startListener(t)
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => { text += chunk })
  socket.write(`GET /fast HTTP/1.1\r\n${HEAD}\r\n`)
  while (!text.endsWith('fast')) await once(socket, 'data')
  socket.write(RUBBISH)
  await once(socket, 'close')
  t.match(text, /fastHTTP\/1\.1 400 Bad Request/)
})

t.test('a connection on which nothing was asked is closed without an answer', async (t) => {
  const { url } = await startListener(t)
  const { status, text } = await sendRaw(url, '')
  t.notOk(status)
  t.equal(text, '')
})

t.test('a client that waits for 100 Continue is refused before it sends a body', async (t) => {
  const { url } = await startListener(t)
  const expecting = `${HEAD}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n`
  t.equal((await sendRaw(url, `POST /refused HTTP/1.1\r\n${expecting}`)).status, 503)
  const { go, url: other } = await startListener(t)
  go()
  const { status, text } = await sendRaw(other, `POST /slow HTTP/1.1\r\n${expecting}{}`)
  t.equal(status, 100)
  t.match(text, /^HTTP\/1\.1 201 Created/)
})
