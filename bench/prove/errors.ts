import { randomBytes } from 'node:crypto'
import { writeFileSync, mkdirSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { MongoClient } from 'mongodb'
import { startParts } from '../rig/parts.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { launch, type Settings } from '../rig/service.ts'

/** The ten seconds that a MongoDB may take to appear, and a start. */
const SECONDS_MAX = 15
const WITHOUT_OTHERS = { REDIS_URL: 'off', KAFKA_BROKERS: 'off' }
const PASSWORD = `right-${randomBytes(6).toString('hex')}`

async function run ({ dir, figure, detail, expect }: Bench): Promise<void> {
  let asExpected = 0
  let cases = 0
  async function refused (title: string, settings: Settings, names: RegExp): Promise<void> {
    const { code, output, ms } = await launch(join(dir, 'service'), { ...WITHOUT_OTHERS, ...settings }).ended()
    const lines = output.trimEnd().split('\n')
    detail(`${title}: exit code ${code} after ${round(ms / 1000, 1)} s: ${lines.join('\n        ')}`)
    const wrong = [
      ...(lines.length === 1 && names.test(output) ? [] : ['not one line that names the cause']),
      ...(typeof code === 'number' && code > 0 ? [] : [`exit code ${code}`]),
      ...(ms < SECONDS_MAX * 1000 ? [] : ['too slow']),
      ...(output.includes(PASSWORD) ? ['shows the password'] : [])
    ]
    cases++
    if (wrong.length === 0) asExpected++
    expect(wrong.length === 0, `${title}: ${wrong.join(', ')}`)
  }

  await refused('a broker without a port', { KAFKA_BROKERS: 'kafka' }, /KAFKA_BROKERS/)
  await refused('a Kafka URL', { KAFKA_BROKERS: 'kafka://127.0.0.1:9092' }, /KAFKA_BROKERS/)
  await refused('a URL that is none', { MONGO_URL: 'http://127.0.0.1' }, /MONGO_URL/)
  await refused('two wrong settings', { PORT: 'http', LOG_LEVEL: 'loud' }, /PORT.*LOG_LEVEL/)
  await refused('no URLs in production', { NODE_ENV: 'production', MONGO_URL: '' }, /MONGO_URL/)

  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const taken = String((listener.address() as AddressInfo).port)
  await withMongo(join(dir, 'set'), {}, async (url) => {
    await refused('port taken', { MONGO_URL: url, PORT: taken }, new RegExp(`${taken}.* PORT`))
    await refused('metrics port taken', { MONGO_URL: url, METRICS_PORT: taken }, new RegExp(`${taken}.* METRICS_PORT`))
  })
  listener.close()
  await once(listener, 'close')
  await refused('MongoDB unreachable', { MONGO_URL: `mongodb://127.0.0.1:${taken}/` }, /MONGO_URL/)

  await withMongo(join(dir, 'standalone'), { mongoReplicaSet: false }, (url) =>
    refused('MongoDB alone', { MONGO_URL: url }, /replica set/)
  )
  await withMongo(join(dir, 'unknown-set'), {}, (url) =>
    refused('MongoDB of another set', { MONGO_URL: url.replace('rs0', 'rs1') }, /rs1/)
  )

  const auth = join(dir, 'auth')
  const keyFile = join(auth, 'key')
  mkdirSync(auth, { recursive: true })
  writeFileSync(keyFile, randomBytes(96).toString('base64'), { mode: 0o600 })
  await withMongo(auth, {}, addUser)
  await withMongo(auth, { mongoArgs: ['--auth', '--keyFile', keyFile] }, async (url) => {
    await refused('no user', { MONGO_URL: url }, /MONGO_URL/)
    await refused('wrong password', { MONGO_URL: url.replace('//', '//shop:wrong-one@') }, /MONGO_URL/)
  })
  figure(`${asExpected} of ${cases} with one line that names the cause and an exit code that isn't 0`)
}

async function withMongo (
  dir: string,
  options: { mongoReplicaSet?: boolean, mongoArgs?: string[] },
  use: (url: string) => Promise<void>
): Promise<void> {
  const local = await startParts({ dir, parts: ['mongo'], ...options })
  try {
    await use(local.urls.mongo!)
  } finally {
    await local.stop()
  }
}

async function addUser (url: string): Promise<void> {
  const client = new MongoClient(url)
  try {
    await client.db('admin').command({ createUser: 'shop', pwd: PASSWORD, roles: ['root'] })
  } finally {
    await client.close()
  }
}

export default { name: 'errors', title: "a start that can't succeed", run } satisfies Scenario
