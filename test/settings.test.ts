import t from 'tap'
import { readdirSync, writeFileSync } from 'node:fs'
import { createService } from '../src/app.ts'
import { StartupError } from '../src/errors.ts'
import { failingStart, newFolder } from './forked-service.ts'

const WRONG: [env: NodeJS.ProcessEnv, line: RegExp][] = [
  [{ PORT: 'abc' }, /^PORT must be integer \(port of the API\)$/],
  [{ PORT: '8002.5' }, /^PORT must be integer/],
  [{ PORT: '' }, /^PORT must be integer/],
  [{ PORT: '70000' }, /^PORT must be <= 65535/],
  [{ PORT: '-1' }, /^PORT must be >= 0/],
  [{ METRICS_PORT: 'http' }, /^METRICS_PORT must be integer/],
  [{ HOST: '' }, /^HOST must NOT have fewer than 1 characters/],
  [{ RESPONSE_ENVELOPE: 'xml' }, /^RESPONSE_ENVELOPE must be: off, or result/],
  [{ LOG_LEVEL: 'loud' }, /^LOG_LEVEL must be: fatal, error, warn, info, debug, trace or silent$/],
  [{ LOG_LEVEL: '' }, /^LOG_LEVEL must be: fatal/],
  [{ KAFKA_BROKERS: 'nonsense' }, /^KAFKA_BROKERS must be: host:port/],
  [{ KAFKA_BROKERS: 'kafka:9092,,other' }, /^KAFKA_BROKERS must be: host:port/],
  [{ KAFKA_TOPIC: 'a topic' }, /^KAFKA_TOPIC must be: topic/],
  [{ MONGO_URL: 'http://x' }, /^MONGO_URL must be: mongodb:\/\//],
  [{ MONGO_URL: 'mongodb://secret:password@' }, /^MONGO_URL can't be used: Protocol and host list are required in the uri/],
  [{ MONGO_URL: 'mongodb://user:pass@word@mongo/' }, /^MONGO_URL can't be used: Invalid connection string/],
  [{ MONGO_URL: 'mongodb://mongo/?replicaset=rs0&foo=1' }, /^MONGO_URL can't be used: option foo is not supported/],
  [{ MONGO_URL: 'mongodb://mongo:99999/' }, /^MONGO_URL can't be used: Unable to parse mongo:99999/],
  [{ MONGO_URL: 'mongodb://mongo/%zz' }, /^MONGO_URL can't be used: URI malformed/],
  [{ REDIS_URL: 'ftp://x' }, /^REDIS_URL must be: redis:\/\//],
  [{ REDIS_URL: 'redis://redis:99999' }, /^REDIS_URL can't be used: Invalid URL/],
  [{ KAFKA_BROKERS: 'kafka:9092 kafka:99999' }, /^KAFKA_BROKERS can't be used: Invalid URL/],
  [{ CACHE_BYTES_MAX: '64MB' }, /^CACHE_BYTES_MAX must be integer/],
  [{ PORT: 'abc', LOG_LEVEL: 'loud' }, /^PORT must be integer .*; LOG_LEVEL must be: /],
  [{ NODE_ENV: 'production' }, /^MONGO_URL, REDIS_URL, KAFKA_BROKERS must be set when NODE_ENV is production/],
  [{ NODE_ENV: 'production', MONGO_URL: 'mongodb://127.0.0.1:1/', KAFKA_BROKERS: 'off' }, /^REDIS_URL must be set when NODE_ENV is production/]
]

t.test('a wrong setting is named with what is right, before anything is started', async (t) => {
  for (const [data, expected] of WRONG) {
    const { api } = createService({ settings: { LOCAL_DIR: '/dev/null/nowhere', ...data } as object, logger: false })
    const error = await api.ready().then(() => undefined, (error) => error)
    await api.close()
    t.type(error, StartupError)
    t.match(error.message, expected)
    t.notMatch(error.message, /\n|pass/, 'in one line without the value, which may hold a password')
  }
})

t.test('the process says so in one line on stderr and exits with an error', { timeout: 60_000 }, async (t) => {
  for (const env of [{ PORT: 'abc' }, { RESPONSE_ENVELOPE: 'xml', LOG_LEVEL: 'warn' }, { LOG_LEVEL: 'loud' }, { MONGO_URL: 'mongodb://u:pass@' }, { NODE_ENV: 'production' }]) {
    const { line, cwd } = await failingStart(t, env)
    t.ok(line.startsWith(env.NODE_ENV === undefined ? Object.keys(env)[0]! : 'MONGO_URL, REDIS_URL'), line)
    t.strictSame(readdirSync(cwd), [], 'no data of local parts')
  }
})

t.test('.env in the working folder is read, and the environment goes before it', async (t) => {
  const cwd = newFolder(t)
  writeFileSync(`${cwd}/.env`, 'PORT=abc\nMETRICS_PORT=70000\n')
  t.match((await failingStart(t, {}, cwd)).line, /PORT must be integer/)
  t.match((await failingStart(t, { PORT: '8002' }, cwd)).line, /^METRICS_PORT must be <= 65535[^;]*$/)
})
