import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { connectMongo, leads, startPosting, storedIds } from '../support/faults.ts'
import { failingStart, newFolder } from '../support/forked-service.ts'
import { eventually, newNamespace, parts, request, settingsFor } from '../helper.ts'
import { childrenOf, isAlive, startWorkers, WORKERS, workersOf } from '../support/worker-processes.ts'

function environment (settings: Record<string, string | number>): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries({ ...settingsFor(newNamespace()), WORKERS, LOG_LEVEL: 'warn', ...settings }).map(([name, value]) => [
      name,
      String(value)
    ])
  )
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(
    `${signal} under load, sent to every process as a terminal does it, ends all of them with what they accepted answered`,
    async (t) => {
      const { service, workers } = await startWorkers(t)
      await eventually(() => leads(service), 30_000, 'a leader')
      const posting = startPosting(t, () => service.url, 16)
      await eventually(() => posting.told.length > 300, 30_000)
      for (const pid of workers) process.kill(pid, signal)
      service.signal(signal)
      t.strictSame(await service.exit, { code: 0, signal: null })
      t.notOk(workers.some(isAlive), 'no worker is left')
      const told = await posting.stop()
      t.strictSame(
        told.filter(({ status }) => ![0, 201].includes(status)),
        [],
        'nothing is answered with an error'
      )
      const client = await connectMongo(t, parts.mongoUrl)
      t.equal(
        await client.db(service.namespace).collection('orders').countDocuments(),
        storedIds(told).length,
        'what is stored is what was confirmed'
      )
      const lease = await client
        .db(service.namespace)
        .collection('relay')
        .findOne({ owner: { $exists: true } })
      t.equal(lease?.owner, '', 'the lease is given back')
      t.equal(service.errors, '')
    }
  )
}

t.test('local parts are started once, by the primary, and end after the workers', { timeout: 120_000 }, async (t) => {
  const { service, workers } = await startWorkers(t, { REDIS_URL: '', LOCAL_DIR: newFolder(t) })
  const redis = childrenOf(service).filter((pid) => !workers.includes(pid))
  t.equal(redis.length, 1)
  await eventually(
    async () => (await request(`${service.operationsUrl}/readyz`)).body.redis,
    20_000,
    'a Redis that every worker uses'
  )
  service.signal('SIGTERM')
  t.equal((await service.exit).code, 0)
  t.notOk([...workers, ...redis].some(isAlive))
})

t.test('a signal that only the workers got ends nothing', async (t) => {
  const { service, workers } = await startWorkers(t)
  for (const pid of workers) for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal)
  const posting = startPosting(t, () => service.url, 8, 200)
  t.strictSame((await posting.done).filter(({ status }) => status !== 201), [])
  t.strictSame(workersOf(service), workers)
})

t.test('a worker that hangs is killed in time, and the end is reported as late', async (t) => {
  const { service, workers } = await startWorkers(t, { CLOSE_DELAY_MS: 3_000 })
  process.kill(workers[0]!, 'SIGSTOP')
  service.signal('SIGTERM')
  t.equal((await service.exit).code, 1)
  t.notOk(workers.some(isAlive))
})

t.test('the workers of a killed primary answer what they have, give the lease back and end', async (t) => {
  const { service, workers } = await startWorkers(t)
  await eventually(() => leads(service), 30_000, 'a leader')
  const posting = startPosting(t, () => service.url, 8)
  await eventually(() => posting.told.length > 100, 30_000)
  await service.kill()
  await eventually(() => !workers.some(isAlive), 9_000, 'the end of the workers')
  const told = await posting.stop()
  t.strictSame(told.filter(({ status }) => ![0, 201].includes(status)), [])
  const client = await connectMongo(t, parts.mongoUrl)
  t.equal(
    await client.db(service.namespace).collection('orders').countDocuments(),
    storedIds(told).length,
    'what is stored is what was confirmed'
  )
  const lease = await client.db(service.namespace).collection('relay').findOne({ owner: { $exists: true } })
  t.equal(lease?.owner, '', 'the lease is given back')
})

t.test('what is wrong at the start is one line, however many workers there are', { timeout: 120_000 }, async (t) => {
  t.match((await failingStart(t, environment({ WORKERS: 0 }))).line, /^WORKERS must be >= 1 \(processes/)
  t.match((await failingStart(t, environment({ LOG_LEVEL: 'loud' }))).line, /^LOG_LEVEL must be: fatal/)
  t.match(
    (await failingStart(t, environment({ MONGO_URL: 'mongodb://127.0.0.1:1/?maxPoolSize=1' }))).line,
    /^maxPoolSize=1 in MONGO_URL is too small/,
    'that only a worker finds'
  )
  const holder = createServer().listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { port } = holder.address() as AddressInfo
  for (const name of ['PORT', 'METRICS_PORT']) {
    t.equal(
      (await failingStart(t, environment({ [name]: port }))).line,
      `port ${port} is taken: stop what listens there, or set ${name} to another port`
    )
  }
})

t.test("a worker that can't be kept alive ends the service with an error", { timeout: 120_000 }, async (t) => {
  const { service, workers: [, survivor] } = await startWorkers(t)
  await eventually(() => {
    for (const pid of workersOf(service)) if (pid !== survivor && isAlive(pid)) process.kill(pid, 'SIGKILL')
    return service.errors
  }, 60_000, 'the service gives up')
  t.match(service.errors, /^worker \d ended 6 times in a row soon after its start: SIGKILL\n$/)
  t.not((await service.exit).code, 0)
})
