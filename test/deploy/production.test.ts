import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import getPort from 'get-port'
import t, { type Test } from 'tap'
import { SettingsSchema, type Settings } from '../../schemas/settings.ts'
import { aNewOrder, collectEvents, eventually, newNamespace, post, request, settingsFor } from '../helper.ts'

const root = join(import.meta.dirname, '..', '..')
const START_MS_MAX = 30_000
/** Also what a container is given before it is killed, see compose.yaml. */
const END_MS_MAX = 15_000

const dir = await mkdtemp(join(tmpdir(), 'order-service-production-'))
t.teardown(() => rm(dir, { recursive: true, force: true }))

const bare = await mkdtemp(join(tmpdir(), 'order-service-bare-'))
t.teardown(() => rm(bare, { recursive: true, force: true }))

t.before(async () => {
  for (const file of ['package.json', 'package-lock.json', '.npmrc', 'scripts']) {
    await cp(join(root, file), join(dir, file), { recursive: true })
  }
  await cp(join(root, 'dist'), join(dir, 'dist'), {
    recursive: true,
    filter: (source) => source !== join(root, 'dist', 'local')
  })
  const { code, stderr } = await ended(
    start('npm', ['ci', '--omit=dev', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'])
  )
  if (code !== 0) throw new Error(`npm ci failed: ${stderr}`)
})

t.test('it serves orders and ends when it is asked to', async (t) => {
  const namespace = newNamespace()
  const [port, metricsPort] = [await getPort(), await getPort()]
  const service = startService(t, {
    ...settingsFor(namespace),
    PORT: port,
    METRICS_PORT: metricsPort,
    NODE_ENV: 'production',
    DOCS: 'on'
  })
  const end = ended(service)
  await eventually(async () => {
    if (service.child.exitCode !== null) throw new Error(`it ended: ${(await end).stderr}`)
    return await fetch(`http://127.0.0.1:${metricsPort}/readyz`).then(({ ok }) => ok, () => false)
  }, START_MS_MAX, 'readiness')

  const created = await post(`http://127.0.0.1:${port}/orders`, aNewOrder)
  t.equal(created.status, 201)
  t.equal((await fetch(`http://127.0.0.1:${port}/docs`)).status, 200, 'with what it loads only when it is asked to')
  const read = await request(`http://127.0.0.1:${port}${created.headers.get('location')}`)
  t.strictSame([read.status, read.body], [200, created.body])
  const collected = await collectEvents(t, namespace)
  t.equal((await collected.forOrders([created.body._id])).length, 1)

  const toldAt = performance.now()
  service.child.kill('SIGTERM')
  const { code, stderr } = await end
  t.strictSame({ code, stderr }, { code: 0, stderr: '' })
  t.ok(performance.now() - toldAt < END_MS_MAX)
})

t.test('without URLs it says in one line that local parts need the development packages', async (t) => {
  const expected = {
    code: 1,
    stdout: '',
    stderr: 'local parts need the development packages: run `npm ci`, or set MONGO_URL, REDIS_URL and KAFKA_BROKERS\n'
  }
  const settings = { PORT: await getPort(), METRICS_PORT: await getPort(), LOG_LEVEL: 'warn' }
  t.strictSame(await ended(startService(t, settings)), expected, 'without the launcher')

  await cp(join(root, 'dist', 'local'), join(dir, 'dist', 'local'), { recursive: true })
  t.strictSame(await ended(startService(t, settings)), expected, 'with the launcher, but without what it needs')
})

t.test('in production it says which URLs are missing, also to `npm start`, which has no compiler to run', async (t) => {
  const { code, stderr } = await ended(start('npm', ['start'], { NODE_ENV: 'production', LOG_LEVEL: 'warn' }))
  t.equal(code, 1)
  t.match(stderr, /^MONGO_URL, REDIS_URL, KAFKA_BROKERS must be set when NODE_ENV is production/m)
})

t.test("what isn't built, and can't be, is one line that says what to run", async (t) => {
  const { code, stdout, stderr } = await ended(start('node', ['scripts/run.js', 'dist/src/another.js']))
  t.match({ code, stdout }, { code: 1, stdout: '' })
  t.match(stderr, /^dist\/src\/another\.js is not there, .*: run `npm ci --include=dev && npm run build`\n$/)
  await cp(join(dir, 'scripts'), join(bare, 'scripts'), { recursive: true })
  await cp(join(dir, 'package.json'), join(bare, 'package.json'))
  t.match(await ended(start('node', [join(bare, 'scripts', 'run.js'), 'dist/src/index.js'])), {
    code: 1,
    stderr: 'the packages are not installed: run `npm ci`\n'
  })
})

interface Running { child: ChildProcess, stdout: string, stderr: string }

function startService (t: Test, settings: Partial<Settings>): Running {
  const service = start('node', ['dist/src/index.js'], settings)
  t.teardown(() => service.child.kill('SIGKILL'))
  return service
}

/** In the installation's folder, with no other settings than these, and without what tap adds to see into processes. */
function start (command: string, args: string[], settings: Partial<Settings> = {}): Running {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !(name in SettingsSchema.properties) && name !== 'NODE_OPTIONS'
  )
  const env = Object.fromEntries([
    ...inherited,
    ...Object.entries(settings).map(([name, value]) => [name, String(value)])
  ])
  const child = spawn(command, args, { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const running: Running = { child, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => { running.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text) => { running.stderr += text })
  return running
}

async function ended (running: Running): Promise<{ code: number | null, stdout: string, stderr: string }> {
  const [code] = await once(running.child, 'close')
  return { code, stdout: running.stdout, stderr: running.stderr }
}
