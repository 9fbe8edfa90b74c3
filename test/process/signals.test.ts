import { readFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { SIGNALS } from '../../src/process/signals.ts'
import {
  connectMongo,
  forkService,
  leads,
  send,
  startPosting,
  storedIds,
  type ServiceProcess
} from '../support/faults.ts'
import { eventually, metric, newNamespace, parts, request } from '../helper.ts'
import { isAlive, startWorkers } from '../support/worker-processes.ts'

/** Sends them all, over and over, from the first on until the process has ended. */
async function endBy (first: number, service: ServiceProcess, others: number[] = []): Promise<{ code: number | null }> {
  for (let sent = first; isAlive(service.pid) && sent < first + 200; sent++) {
    const signal = SIGNALS[sent % SIGNALS.length]!
    service.signal(signal)
    for (const pid of others) if (isAlive(pid)) process.kill(pid, signal)
    await delay(50)
  }
  return await service.exit
}

for (const [index, signal] of SIGNALS.entries()) {
  t.test(`${signal}, and any others after it, end a service as one signal does`, async (t) => {
    const service = await forkService(t, signal === 'SIGTERM' ? {} : { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
    if (signal === 'SIGTERM') await eventually(() => leads(service), 30_000, 'a leader')
    const posting = startPosting(t, () => service.url, 8)
    await eventually(() => posting.told.length > 200)
    t.match(await endBy(index, service), { code: 0 })
    const told = await posting.stop()
    t.strictSame(told.filter(({ status, reused }) => (status !== 0 || reused) && status !== 201), [])
    const database = (await connectMongo(t, parts.mongoUrl)).db(service.namespace)
    t.equal(await database.collection('orders').countDocuments(), storedIds(told).length)
    if (signal === 'SIGTERM') {
      t.equal(
        (await database.collection('relay').findOne({ owner: { $exists: true } }))?.owner,
        '',
        'the lease is given back'
      )
    }
    t.equal(service.errors, '')
  })
}

t.test('signals to the whole group, over and over, end workers as one does', async (t) => {
  const { service, workers } = await startWorkers(t, { KAFKA_BROKERS: 'off' })
  const posting = startPosting(t, () => service.url, 8)
  await eventually(() => posting.told.length > 200, 30_000)
  t.match(await endBy(1, service, workers), { code: 0 })
  t.notOk(workers.some(isAlive))
  const told = await posting.stop()
  t.strictSame(told.filter(({ status }) => ![0, 201].includes(status)), [])
  t.equal(
    await (await connectMongo(t, parts.mongoUrl)).db(service.namespace).collection('orders').countDocuments(),
    storedIds(told).length
  )
  t.equal(service.errors, '')
})

// A first process of a container ignores what nobody listens for, and most of a second goes by until everything is
// loaded.
t.test('the entries hear signals before they load anything else', async (t) => {
  const importsOf = (file: string): string[] =>
    [...readFileSync(file, 'utf8').matchAll(/^import .*'(.+)'$/gm)].map(([, path]) => path!)
  for (const entry of ['src/index.ts', 'src/worker.ts']) t.strictSame(importsOf(entry), ['./process/signals.ts'], entry)
  t.strictSame(importsOf('src/process/signals.ts'), [])
})

for (const WORKERS of [1, 2]) {
  t.test(`after SIGTERM new connections are served for DRAIN_MS while readyz says unready, until Ctrl-C: ${WORKERS}`, async (t) => {
    const service = await forkService(t, { KAFKA_BROKERS: 'off', DRAIN_MS: 600_000, WORKERS }, newNamespace())
    await eventually(async () => (await request(`${service.operationsUrl}/readyz`)).status === 200, 20_000)
    service.signal('SIGTERM')
    await eventually(async () => (await request(`${service.operationsUrl}/readyz`)).status === 503)
    t.equal(await metric(service, 'service_ready'), 0)
    for (let connections = 0; connections < 3; connections++) {
      const agent = new Agent()
      t.equal((await send(agent, 'GET', `${service.url}/orders`)).status, 200)
      agent.destroy()
    }
    service.signal('SIGTERM')
    t.equal((await request(`${service.operationsUrl}/readyz`)).status, 503, 'another SIGTERM changes nothing')
    service.signal('SIGINT')
    t.match(await service.exit, { code: 0 })
  })
}
