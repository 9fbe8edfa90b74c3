import t, { type Test } from 'tap'
import { createServer, type AddressInfo } from 'node:net'
import pino from 'pino'
import { logOptions } from '../../src/runtime/logger.ts'
import { forkService } from '../support/forked-service.ts'
import { databaseUrl, eventually, newNamespace, post, request, settingsFor } from '../helper.ts'
import { encode, serveKafka } from '../support/kafka/wire.ts'

const SECRETS = { mongo: 'mongo@S3cr/t', redis: 'redis%S3cr:t', kafka: 'kafka#S3cr$t' }
const ORDER = { userId: 'private-user', products: [{ _id: 'private-product', quantity: 1 }] }

function assertNoSecret (t: Test, text: string): void {
  for (const secret of Object.values(SECRETS)) {
    const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '')
    for (const written of [secret, encodeURIComponent(secret), base64, JSON.stringify(secret).slice(1, -1)]) {
      t.notOk(text.includes(written), `no ${written}`)
    }
  }
  t.notOk(text.includes('private-'), 'nothing of an order')
}

/** A Redis that knows no AUTH, and so repeats what it is sent. */
async function startRefusingRedis (t: Test): Promise<{ port: number, readonly asked: string }> {
  let asked = ''
  const server = createServer((socket) => {
    socket.on('error', () => {}).on('data', (data) => {
      asked += data
      const args = [...String(data).matchAll(/\$\d+\r\n([^\r]*)/g)].map(([, arg]) => `'${arg}'`)
      const commands = String(data).match(/^\*/gm) ?? []
      const error = `-ERR unknown command 'AUTH', with args beginning with: ${args.join(' ')}\r\n`
      socket.write(error.repeat(commands.length))
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => { server.close() })
  return { port: (server.address() as AddressInfo).port, get asked () { return asked } }
}

/** A Kafka that refuses each password. */
async function startRefusingKafka (t: Test) {
  let asked = ''
  const [VERSIONS, HANDSHAKE, AUTHENTICATE] = [18, 17, 36]
  const server = await serveKafka(async ({ apiKey, body }) => {
    if (apiKey === VERSIONS) {
      const ranges = [[VERSIONS, 0], [HANDSHAKE, 1], [AUTHENTICATE, 0]]
        .map(([key, version]) => encode().writeInt16(key!).writeInt16(version!).writeInt16(version!))
      return encode().writeInt16(0).writeArray(ranges).writeInt32(0)
    }
    if (apiKey === HANDSHAKE) return encode().writeInt16(0).writeArray(['PLAIN'])
    asked += (body as unknown as { readBytes: () => Buffer }).readBytes().toString()
    return encode().writeInt16(58).writeString('Authentication failed: Invalid username or password').writeInt32(0)
  }, (error) => t.error(error), () => {})
  t.teardown(() => server.close())
  return { port: server.port, get asked () { return asked } }
}

t.test('where Redis and Kafka refuse passwords, these and orders are in no line', { timeout: 60_000 }, async (t) => {
  const redis = await startRefusingRedis(t)
  const kafka = await startRefusingKafka(t)
  const settings = {
    ...settingsFor(newNamespace()),
    REDIS_URL: `redis://user:${encodeURIComponent(SECRETS.redis)}@127.0.0.1:${redis.port}`,
    KAFKA_BROKERS: `127.0.0.1:${kafka.port}`,
    KAFKA_SASL: 'plain',
    KAFKA_USER: 'user',
    KAFKA_PASSWORD: SECRETS.kafka,
    LOG_LEVEL: 'trace'
  }
  const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)]))
  const { child, output, ended } = forkService(t, env)
  const listening = (): string[] => [...output.stdout.matchAll(/listening at (http[^"]+)"/g)].map(([, at]) => at!)
  await eventually(() => listening().length === 2, 30_000, 'a service that listens')
  const url = listening()[1]!
  const headers = { authorization: `Bearer ${SECRETS.mongo}`, 'idempotency-key': 'private-key' }
  const { status, body } = await post(`${url}/orders`, ORDER, headers)
  t.equal(status, 201)
  t.equal((await request(`${url}/orders/${body._id}`)).status, 200)
  await post(`${url}/orders`, '{"userId":"private-user",')
  await eventually(() => redis.asked.includes(SECRETS.redis) && kafka.asked.includes(SECRETS.kafka), 9_000, 'logins')
  for (const line of ["Redis can't be used", 'the relay tries again']) {
    await eventually(() => output.stdout.includes(line), 20_000, line)
  }
  child.kill('SIGTERM')
  const { stdout, stderr } = await ended
  assertNoSecret(t, stdout + stderr)
})

t.test('a MongoDB that refuses the password: it is in no line either', async (t) => {
  const url = databaseUrl('x').replace('://', `://user:${encodeURIComponent(SECRETS.mongo)}@`)
  const { ended } = forkService(t, { MONGO_URL: url, REDIS_URL: 'off', KAFKA_BROKERS: 'off', LOG_LEVEL: 'trace' })
  const { stdout, stderr } = await ended
  t.match(stderr, /^MongoDB at \S+ refused the user of MONGO_URL/)
  assertNoSecret(t, stdout + stderr)
})

t.test('of an error only its words are logged, and none that repeat a command, a URL or an order', async (t) => {
  const lines: string[] = []
  const log = pino({ ...logOptions, level: 'trace' }, { write: (line: string) => { lines.push(line) } })
  const errors = [
    Object.assign(new Error('WRONGPASS'), { command: { name: 'auth', args: [SECRETS.redis] } }),
    Object.assign(new Error(`ERR unknown command 'AUTH', with args beginning with: '${SECRETS.redis}'`), { code: 'X' }),
    Object.assign(new Error('E11000 duplicate key error collection: x dup key: { userId: "private-user" }'),
      { writeErrors: [{ err: { op: ORDER } }], result: ORDER, errInfo: ORDER }),
    new Error('MongoDB', { cause: new Error(`mongodb://user:${SECRETS.mongo}@mongo/orders is wrong`) }),
    new AggregateError([new Error(`redis://user:${SECRETS.redis}@redis`)], ''),
    (() => { try { return JSON.parse('{"userId":"private-user",}') } catch (error) { return error } })(),
    (() => { try { return JSON.parse('private-user') } catch (error) { return error } })()
  ]
  for (const error of errors) {
    log.error(error)
    log.error({ err: error })
    log.debug({ err: error }, 'a line')
    log.warn({ reason: error.message, error: error.message }, 'a line')
    log.child({}).fatal({ err: error }, 'a line')
  }
  t.equal(lines.length, errors.length * 5)
  t.match(JSON.parse(lines[0]!), { msg: 'WRONGPASS', err: { message: 'WRONGPASS', stack: /^Error: WRONGPASS\n +at / } })
  t.match(JSON.parse(lines[5]!), { err: { code: 'X', message: /^ERR unknown command 'AUTH'/ } })
  assertNoSecret(t, lines.join(''))
})
