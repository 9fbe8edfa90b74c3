import t from 'tap'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import getPort from 'get-port'
import { failingStart, forkService, newFolder } from './forked-service.ts'
import { eventually, newNamespace, settingsFor } from './helper.ts'

function environment (settings: Record<string, string | number>): NodeJS.ProcessEnv {
  const { HOST: _, ...known } = settingsFor(newNamespace())
  return Object.fromEntries(Object.entries({ ...known, REDIS_URL: 'off', KAFKA_BROKERS: 'off', LOG_LEVEL: 'warn', ...settings }).map(([name, value]) => [name, String(value)]))
}

t.test('a port that is taken is one line that names it and its setting', { timeout: 60_000 }, async (t) => {
  const holder = createServer().listen(0)
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { port } = holder.address() as AddressInfo
  for (const name of ['PORT', 'METRICS_PORT']) {
    const { line } = await failingStart(t, environment({ [name]: port }))
    t.equal(line, `port ${port} is taken: stop what listens there, or set ${name} to another port`)
  }
})

t.test('a HOST that is none of this machine is one line that names it', { timeout: 60_000 }, async (t) => {
  const { line } = await failingStart(t, environment({ HOST: '192.0.2.1' }))
  t.match(line, /^HOST 192\.0\.2\.1 with METRICS_PORT 0 can't be listened on: .*EADDRNOTAVAIL/)
})

/** Node's answer on a machine without IPv6. */
const WITHOUT_IPV6 = `
  import { Server } from 'node:net'
  const { listen } = Server.prototype
  Server.prototype.listen = function (options, ...rest) {
    if (options.host !== '::') return listen.call(this, options, ...rest)
    process.nextTick(() => this.emit('error', Object.assign(new Error('listen EAFNOSUPPORT'), { code: 'EAFNOSUPPORT' })))
    return this
  }`

for (const ipv6 of [true, false]) {
  t.test(`by default a service listens on IPv4 ${ipv6 ? 'and IPv6' : 'where there is no IPv6'}, and ends with 0`, { timeout: 60_000 }, async (t) => {
    const cwd = newFolder(t)
    const preload = `${cwd}/without-ipv6.mjs`
    writeFileSync(preload, ipv6 ? '' : WITHOUT_IPV6)
    const [PORT, METRICS_PORT] = [await getPort(), await getPort()]
    const { child, ended } = forkService(t, environment({ PORT, METRICS_PORT, NODE_OPTIONS: `--import=${preload}` }), cwd)
    for (const url of [`http://127.0.0.1:${METRICS_PORT}/readyz`, `http://127.0.0.1:${PORT}/orders`, ...ipv6 ? [`http://[::1]:${PORT}/orders`] : []]) {
      await eventually(() => fetch(url).then(({ ok }) => ok, () => false), 30_000, url)
    }
    child.kill('SIGTERM')
    t.match(await ended, { code: 0, stdout: '', stderr: '' }, 'and says nothing at LOG_LEVEL=warn')
  })
}
