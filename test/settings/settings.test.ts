import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { readSettings } from '../../src/app.ts'
import { StartupError } from '../../src/errors.ts'
import { failingStart, forkService, newFolder } from '../support/forked-service.ts'
import { databaseUrl, eventually, newNamespace, parts } from '../helper.ts'

type Wrong = [env: NodeJS.ProcessEnv, line: RegExp]

const WRONG: Wrong[] = [
  [{ PORT: 'abc' }, /^PORT must be integer \(port of the API\)$/],
  [{ PORT: '8002.5' }, /^PORT must be integer/],
  [{ PORT: '70000' }, /^PORT must be <= 65535/],
  [{ PORT: '-1' }, /^PORT must be >= 0/],
  [{ METRICS_PORT: 'http' }, /^METRICS_PORT must be integer/],
  [{ RESPONSE_ENVELOPE: 'xml' }, /^RESPONSE_ENVELOPE must be: off, or result/],
  [{ LOG_LEVEL: 'loud' }, /^LOG_LEVEL must be: fatal, error, warn, info, debug, trace or silent$/],
  [{ KAFKA_BROKERS: 'nonsense' }, /^KAFKA_BROKERS must be: host:port/],
  [{ KAFKA_BROKERS: 'kafka:9092,,other' }, /^KAFKA_BROKERS must be: host:port/],
  [{ KAFKA_TOPIC: 'a topic' }, /^KAFKA_TOPIC must be: topic/],
  [{ MONGO_URL: 'http://x' }, /^MONGO_URL must be: mongodb:\/\//],
  [
    { MONGO_URL: 'mongodb://secret:password@' },
    /^MONGO_URL can't be used: Protocol and host list are required in the uri/
  ],
  [{ MONGO_URL: 'mongodb://mongo/?replicaset=rs0&foo=1' }, /^MONGO_URL can't be used: option foo is not supported/],
  [{ MONGO_URL: 'mongodb://mongo:99999/' }, /^MONGO_URL can't be used: Unable to parse mongo:99999/],
  [{ MONGO_URL: 'mongodb://mongo/%zz' }, /^MONGO_URL can't be used: URI malformed/],
  ...[
    'pass%word',
    'pass@word',
    'pass/word',
    'pass:word',
    'pass#word',
    'pass?word',
    'pass[word',
    '12/pass',
    '12?pass'
  ].map((raw): Wrong => [{ MONGO_URL: `mongodb://user:${raw}@mongo/` }, /^MONGO_URL can't be used: user .* % as %25/]),
  [{ REDIS_URL: 'ftp://x' }, /^REDIS_URL must be: redis:\/\//],
  [{ REDIS_URL: 'unix:///tmp/redis.sock' }, /^REDIS_URL must be: redis:\/\//],
  [{ REDIS_URL: 'redis+unix:///tmp/redis.sock' }, /^REDIS_URL must be: redis:\/\//],
  [{ REDIS_URL: 'redis://redis:99999' }, /^REDIS_URL can't be used: it is no URL/],
  [{ REDIS_URL: 'redis://:pass@' }, /^REDIS_URL can't be used: it is no URL/],
  [{ REDIS_URL: 'redis:///2' }, /^REDIS_URL can't be used: it has no valid host/],
  [{ REDIS_URL: 'redis://redis,redis2' }, /^REDIS_URL can't be used: it has no valid host/],
  [{ REDIS_URL: 'redis://redis/orders' }, /^REDIS_URL can't be used: after the host only the number of a database/],
  [{ REDIS_URL: 'redis://redis?keyPrefix=1' }, /^REDIS_URL can't be used: the option keyPrefix is not supported/],
  ...['pass%word', 'pass/word', 'pass#word', 'pass?word', '12/pass', '12?pass', '12#pass']
    .flatMap((raw) => [`redis://:${raw}@redis`, `rediss://user:${raw}@redis`])
    .map((url): Wrong => [{ REDIS_URL: url }, /^REDIS_URL can't be used: user and .* % as %25/]),
  [{ KAFKA_BROKERS: 'kafka:9092 kafka:99999' }, /^KAFKA_BROKERS can't be used: kafka:99999 has no valid port/],
  [{ KAFKA_BROKERS: 'kafka:0' }, /^KAFKA_BROKERS can't be used: kafka:0 has no valid port/],
  ...['kafka', '::1:9092', '[::1]', '[::1]9092', 'kafka://kafka:9092', 'PLAINTEXT://kafka:9092', 'user@kafka:9092'].map(
    (brokers): Wrong => [{ KAFKA_BROKERS: brokers }, /^KAFKA_BROKERS must be: host:port or \[IPv6\]:port/]
  ),
  [{ KAFKA_BROKERS: 'kafka;kafka2:9092' }, /^KAFKA_BROKERS can't be used: kafka;kafka2:9092 has no valid host/],
  [{ KAFKA_BROKERS: '[kafka]:9092' }, /^KAFKA_BROKERS can't be used: \[kafka\]:9092 has no valid host/],
  [{ KAFKA_TOPIC: '.' }, /^KAFKA_TOPIC must be: topic/],
  [{ KAFKA_TOPIC: '..' }, /^KAFKA_TOPIC must be: topic/],
  ...['1_000', '1 000', '0x10', '1e3', '+1', '1.0', '１', 'Infinity', '99999999999999999999'].map((port): Wrong => [
    { PORT: port },
    /^PORT must be integer \(port of the API\)$/
  ]),
  [{ KAFKA_TLS: 'true' }, /^KAFKA_TLS must be: off, or on/],
  [{ NODE_ENV: 'Production' }, /^MONGO_URL, REDIS_URL, KAFKA_BROKERS must be set when/],
  [{ CACHE_BYTES_MAX: '64MB' }, /^CACHE_BYTES_MAX must be integer/],
  [{ PORT: 'abc', LOG_LEVEL: 'loud' }, /^PORT must be integer .*; LOG_LEVEL must be: /],
  [{ NODE_ENV: 'production' }, /^MONGO_URL, REDIS_URL, KAFKA_BROKERS must be set when NODE_ENV is production/],
  [
    { NODE_ENV: 'production', MONGO_URL: 'mongodb://127.0.0.1:1/', KAFKA_BROKERS: 'off' },
    /^REDIS_URL must be set when NODE_ENV is production/
  ]
]

t.test('a wrong setting is named with what is right, before anything is started', async (t) => {
  for (const [env, expected] of WRONG) {
    const error = await readSettings({ env }).then(() => undefined, (error) => error)
    t.type(error, StartupError)
    t.match(error.message, expected)
    t.notMatch(error.message, /\n|pass(?!word\b)|secret/, 'in one line without the value, which may hold a password')
  }
})

t.test('an IPv6 address is right in each URL, and words are right in any case', async (t) => {
  const env = {
    MONGO_URL: 'mongodb://user:p%40ss@[::1]:27017/x',
    REDIS_URL: 'rediss://user:p@ss:word@[::1]:6379/2?family=6',
    KAFKA_BROKERS: '[::1]:9092,kafka:9092 [fe80::1%eth0]:1',
    KAFKA_TLS: 'ON',
    KAFKA_SASL: 'SCRAM-SHA-512',
    KAFKA_USER: 'user%',
    KAFKA_PASSWORD: 'p%@/:#',
    LOG_LEVEL: 'Silent',
    PORT: '0080'
  }
  const expected = { ...env, KAFKA_TLS: 'on', KAFKA_SASL: 'scram-sha-512', LOG_LEVEL: 'silent', PORT: 80 }
  t.match(await readSettings({ env }), expected)
})

t.test('the process says so in one line on stderr and exits with an error', { timeout: 60_000 }, async (t) => {
  for (const env of [
    { PORT: 'abc' },
    { RESPONSE_ENVELOPE: 'xml', LOG_LEVEL: 'warn' },
    { LOG_LEVEL: 'loud' },
    { MONGO_URL: 'mongodb://u:pass@' },
    { NODE_ENV: 'production' }
  ]) {
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

t.test('workers and tools read environment and .env as the service does', { timeout: 60_000 }, async (t) => {
  const cwd = newFolder(t)
  const namespace = newNamespace()
  const [url, topic] = [`MONGO_URL = "${databaseUrl(namespace)}" # ours`, `export KAFKA_TOPIC=${namespace}`]
  writeFileSync(`${cwd}/.env`, ['\uFEFFWORKERS: 2', ' ', url, topic, 'MONGO_URI=secret'].join('\r\n'))
  const kafka = { KAFKA_BROKERS: `${parts.kafkaBrokers}\n` }
  const env = { MONGO_URL: '', REDIS_URL: 'off\r\n', HOST: ' 127.0.0.1 ', PORT: '0\n', METRICS_PORT: '0', ...kafka }
  const { child, output, ended } = forkService(t, env, cwd)
  const count = (what: string): number => output.stdout.split(what).length - 1
  await eventually(() => count('a worker serves') === 2 && count('the relay leads') === 1, 30_000, 'two workers')
  t.equal(count('MONGO_URI is ignored'), 1, 'the warning is given once')
  child.kill('SIGTERM')
  t.equal((await ended).code, 0)

  const entry = resolve('dist/tools/audit.js')
  const audit = spawn(process.execPath, [entry], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let report = ''
  for (const stream of [audit.stdout, audit.stderr]) stream.on('data', (text) => { report += text })
  const [code] = await once(audit, 'close')
  t.equal(code, 0, report)
  t.match(report, /clean\n$/)
  t.match(report, /MONGO_URI is ignored/)
})
