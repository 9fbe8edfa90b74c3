import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Redis } from 'ioredis'
import t from 'tap'
import { startLocalParts } from '../local/index.ts'
import { startedAt } from '../local/processes.ts'
import { eventually } from './helper.ts'

const startRedis = (dir: string) => startLocalParts({ dir, parts: ['redis'], progress: 'silent' })
/** A process that has ended counts as ended, also while nobody has asked for its exit code. */
const isAlive = (pid: number): boolean => startedAt(pid) !== undefined

async function answers (url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  try {
    await redis.connect()
    return await redis.ping() === 'PONG'
  } catch {
    return false
  } finally {
    redis.disconnect()
  }
}

/** A process that starts a Redis in `dir` and stays. */
async function startOwner (dir: string) {
  const launcher = pathToFileURL(join(process.cwd(), 'dist/local/index.js')).href
  const owner = spawn(process.execPath, ['--input-type=module', '-e', `
    const { startLocalParts } = await import(${JSON.stringify(launcher)})
    const { parts } = await startLocalParts({ dir: ${JSON.stringify(dir)}, parts: ['redis'], progress: 'silent' })
    console.log(parts.redis.pid)
    setInterval(() => {}, 1000)`], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(owner.stdout, 'data')
  return { owner, part: Number(line) }
}

t.test('a part answers, is stopped, started again on its port, and ends with its launcher', async (t) => {
  const local = await startRedis(t.testdir())
  t.teardown(() => local.stop())
  const redis = local.parts.redis!
  const { url } = redis
  t.ok(await answers(url))
  await redis.stop()
  t.notOk(await answers(url))
  await redis.start()
  t.equal(redis.url, url)
  t.ok(await answers(url))
  const { pid } = redis
  await local.stop()
  t.notOk(isAlive(pid))
})

t.test('what a killed run left behind is replaced, never adopted', async (t) => {
  const dir = t.testdir()
  const { owner, part } = await startOwner(dir)
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  t.ok(isAlive(part), 'it was left behind')
  const local = await startRedis(dir)
  t.teardown(() => local.stop())
  t.notOk(isAlive(part))
  t.not(local.parts.redis!.pid, part)
  t.ok(await answers(local.urls.redis!))
})

t.test('a folder has one owner, which is named to whoever comes second', async (t) => {
  const dir = t.testdir()
  const { owner, part } = await startOwner(dir)
  await t.rejects(startRedis(dir), { message: new RegExp(`${owner.pid}.*LOCAL_DIR`) })
  t.ok(isAlive(part), 'and its part is left alone')
  owner.kill('SIGTERM')
  await once(owner, 'exit')
  process.kill(part, 'SIGKILL')
  await eventually(() => !isAlive(part), 5_000)
})

t.test('a process that only has the pid of an old part is left alone', async (t) => {
  const dir = t.testdir()
  const first = await startRedis(dir)
  const identity = JSON.parse(readFileSync(join(dir, 'redis', 'pid.json'), 'utf8'))
  t.equal(identity.pid, first.parts.redis!.pid)
  await first.stop()
  const stranger = spawn('sleep', ['60'])
  t.teardown(() => { stranger.kill('SIGKILL') })
  writeFileSync(join(dir, 'redis', 'pid.json'), JSON.stringify({ ...identity, pid: stranger.pid }))
  const second = await startRedis(dir)
  t.teardown(() => second.stop())
  t.ok(isAlive(stranger.pid!))
})

t.test('a port that was taken meanwhile makes it go to another one', async (t) => {
  const dir = t.testdir()
  const first = await startRedis(dir)
  const { port } = first.parts.redis!
  await first.stop()
  const squatter = createServer().listen(port, '127.0.0.1')
  await once(squatter, 'listening')
  t.teardown(() => { squatter.close() })
  t.equal((squatter.address() as AddressInfo).port, port)
  const second = await startRedis(dir)
  t.teardown(() => second.stop())
  t.not(second.parts.redis!.port, port)
  t.ok(await answers(second.urls.redis!))
})

t.test('a part that can\'t be had is named with what would provide it', async (t) => {
  const local = await startLocalParts({ dir: t.testdir(), parts: ['redis'], progress: 'silent', env: { PATH: '', XDG_CACHE_HOME: t.testdir() } })
  t.teardown(() => local.stop())
  t.strictSame(local.urls, {})
  t.match(local.missing, [{ part: 'redis', reason: /REDIS_SERVER_BINARY.*REDIS_URL/ }])
})
