import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import getPort from 'get-port'
import t, { type Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { forkService } from '../support/forked-service.ts'
import { eventually, newNamespace, request, settingsFor } from '../helper.ts'

/** What a start that hung took before it gave up by itself was longer. */
const ENDS_MS_MAX = 6_000

/** A server that accepts connections and never answers. */
async function startSilence (t: Test): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

function environment (settings: Partial<Settings>): NodeJS.ProcessEnv {
  const known = {
    ...settingsFor(newNamespace()),
    REDIS_URL: 'off',
    KAFKA_BROKERS: 'off',
    LOG_LEVEL: 'warn',
    ...settings
  }
  return Object.fromEntries(Object.entries(known).map(([name, value]) => [name, String(value)]))
}

for (const WORKERS of [1, 2]) {
  for (const mongo of ['hangs', 'is away']) {
    t.test(
      `a service of ${WORKERS} that waits for a MongoDB that ${mongo} is live, unready, and ends at a signal`,
      async (t) => {
        const port = mongo === 'hangs' ? await startSilence(t) : await getPort()
        const METRICS_PORT = await getPort()
        const operations = `http://127.0.0.1:${METRICS_PORT}`
        const { child, ended } = forkService(
          t,
          environment({ METRICS_PORT, WORKERS, MONGO_URL: `mongodb://127.0.0.1:${port}/?replicaSet=rs0` })
        )
        await eventually(
          () =>
            fetch(`${operations}/livez`).then(
              ({ ok }) => ok,
              () => false
            ),
          20_000,
          'livez'
        )
        t.match(await request(`${operations}/readyz`), { status: 503, body: { status: 'unready', mongodb: false } })
        t.match(await (await fetch(`${operations}/metrics`)).text(), /^service_ready 0$/m)
        child.kill('SIGTERM')
        const late = delay(ENDS_MS_MAX, 'late', { ref: false })
        t.match(await Promise.race([ended, late]), { code: 0, stderr: '' })
      }
    )
  }
}

t.test('a signal ends a start at any moment, and nothing is left', async (t) => {
  await Promise.all([0, 50, 100, 200, 400, 800].map(async (ms) => {
    const { child, ended } = forkService(t, environment({}))
    await delay(ms)
    child.kill('SIGTERM')
    const { code, signal, stderr } = await ended
    t.ok(code === 0 || signal === 'SIGTERM', `after ${ms} ms: ${code} ${signal}`)
    t.equal(stderr, '')
  }))
})
