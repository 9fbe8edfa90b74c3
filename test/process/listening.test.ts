import t, { type Test } from 'tap'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import getPort from 'get-port'
import type { Settings } from '../../schemas/settings.ts'
import { createService } from '../../src/app.ts'
import { listen } from '../../src/listen.ts'
import { failingStart, forkService, newFolder } from '../support/forked-service.ts'
import { aNewOrder, eventually, newNamespace, settingsFor } from '../helper.ts'
import { rawPost, sendRaw } from '../support/raw-http.ts'

function environment (settings: Record<string, string | number>): NodeJS.ProcessEnv {
  const { HOST: _, ...known } = settingsFor(newNamespace())
  return Object.fromEntries(
    Object.entries({ ...known, REDIS_URL: 'off', KAFKA_BROKERS: 'off', LOG_LEVEL: 'warn', ...settings }).map(
      ([name, value]) => [name, String(value)]
    )
  )
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
  const { line } = await failingStart(t, environment({ HOST: '203.0.113.1' }))
  t.match(line, /^HOST 203\.0\.113\.1 with METRICS_PORT 0 can't be listened on: .*EADDRNOTAVAIL/)
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
  t.test(
    `by default a service listens on IPv4 ${ipv6 ? 'and IPv6' : 'where there is no IPv6'}, and ends with 0`,
    { timeout: 60_000 },
    async (t) => {
      const cwd = newFolder(t)
      const preload = `${cwd}/without-ipv6.mjs`
      writeFileSync(preload, ipv6 ? '' : WITHOUT_IPV6)
      const [PORT, METRICS_PORT] = [await getPort(), await getPort()]
      const { child, ended } = forkService(
        t,
        environment({ PORT, METRICS_PORT, NODE_OPTIONS: `--import=${preload}` }),
        cwd
      )
      for (const url of [
        `http://127.0.0.1:${METRICS_PORT}/readyz`,
        `http://127.0.0.1:${PORT}/orders`,
        ...(ipv6 ? [`http://[::1]:${PORT}/orders`] : [])
      ]) {
        await eventually(
          () =>
            fetch(url).then(
              ({ ok }) => ok,
              () => false
            ),
          30_000,
          url
        )
      }
      child.kill('SIGTERM')
      t.match(await ended, { code: 0, stdout: '', stderr: '' }, 'and says nothing at LOG_LEVEL=warn')
    }
  )
}

/** A service on each of the addresses, as of a name that has them all. */
async function startOn (t: Test, addresses: string[]) {
  const settings = {
    ...settingsFor(newNamespace()),
    HOST: 'a-name',
    REDIS_URL: 'off',
    KAFKA_BROKERS: 'off'
  } satisfies Partial<Settings>
  const { api, operations } = createService({ settings })
  t.teardown(async () => {
    await api.close()
    await operations.close()
  })
  await api.ready()
  const listeners = await listen(api, api.settings, 'PORT', async () => addresses)
  const urls = listeners.map((listener) => {
    const { address, port } = listener.address() as AddressInfo
    return `http://${address}:${port}`
  })
  return { api, urls }
}

t.test('every address that HOST means is a full server', async (t) => {
  const { api, urls } = await startOn(t, ['127.0.0.1', '127.0.0.2', '127.0.0.3'])
  t.strictSame(urls.map((url) => new URL(url).hostname), ['127.0.0.1', '127.0.0.2', '127.0.0.3'])
  t.equal(new Set(urls.map((url) => new URL(url).port)).size, 1, 'at one port')
  const upgrade = [
    'Connection: Upgrade, HTTP2-Settings, close',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA'
  ]
  for (const url of urls) {
    const body = JSON.stringify(aNewOrder)
    t.equal((await sendRaw(url, rawPost(body, upgrade))).status, 201, `a POST that offers an upgrade on ${url}`)
    t.equal(
      (await sendRaw(url, `GET /orders HTTP/1.1\r\nHost: test\r\n${upgrade.join('\r\n')}\r\n\r\n`)).status,
      200,
      `a GET on ${url}`
    )
    t.equal(
      (await sendRaw(url, 'GET / HTTP/1.1\r\nHost: test\r\nExpect: a-miracle\r\nConnection: close\r\n\r\n')).status,
      417
    )
  }
  const accepted: Socket[] = []
  api.server.on('connection', (socket) => accepted.push(socket))
  const half = urls.map((url) => connect(Number(new URL(url).port), new URL(url).hostname))
  const ends = half.map(async (socket) => {
    let text = ''
    for await (const chunk of socket) text += chunk
    return text
  })
  const request = rawPost(JSON.stringify(aNewOrder)).toString('latin1')
  for (const socket of half) socket.write(request.slice(0, -5))
  await eventually(() => api.server.getConnections !== undefined && half.every(({ bytesWritten }) => bytesWritten > 0))
  await eventually(() => accepted.length === urls.length && accepted.every(({ bytesRead }) => bytesRead > 0))
  const closed = api.close()
  await eventually(() => api.closing)
  for (const socket of half) socket.write(request.slice(-5))
  for (const text of await Promise.all(ends)) t.match(text, /^HTTP\/1\.1 201/, 'half a POST when the service closes')
  await closed
  for (const url of urls) await t.rejects(fetch(url), 'and nothing listens any more')
})

t.test("an address of HOST that this machine doesn't have is left out, unless it has none", async (t) => {
  const { urls } = await startOn(t, ['203.0.113.1', '127.0.0.1', '203.0.113.2'])
  t.equal(urls.length, 1)
  t.equal((await fetch(`${urls[0]}/orders`)).status, 200)
  await t.rejects(startOn(t, ['203.0.113.1', '203.0.113.2']), {
    message: /^HOST a-name with PORT 0 can't be listened on: .*EADDRNOTAVAIL/
  })
})
