import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Redis } from 'ioredis'
import t from 'tap'
import { startLocalParts } from '../../local/index.ts'
import { cachedFolder } from '../../local/cache.ts'
import { startedAt } from '../../local/processes.ts'
import { eventually } from '../helper.ts'

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
async function startOwner (dir: string, args: string[] = [], env: NodeJS.ProcessEnv = process.env) {
  const launcher = pathToFileURL(join(process.cwd(), 'dist/local/index.js')).href
  const owner = spawn(process.execPath, [...args, '--input-type=module', '-e', `
    const { startLocalParts } = await import(${JSON.stringify(launcher)})
    const { parts } = await startLocalParts({ dir: ${JSON.stringify(dir)}, parts: ['redis'], progress: 'silent' })
    console.log(parts.redis.pid)
    setInterval(() => {}, 1000)`], { env, stdio: ['ignore', 'pipe', 'inherit'] })
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

t.test('a folder has one owner, which is named to a process that comes second', async (t) => {
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

t.test("a part that can't be had is named with what would provide it", async (t) => {
  const dir = t.testdir()
  const local = await startLocalParts({ dir, parts: ['redis'], progress: 'silent', env: { PATH: '', TMPDIR: dir } })
  t.teardown(() => local.stop())
  t.strictSame(local.urls, {})
  t.match(local.missing, [{ part: 'redis', reason: /REDIS_SERVER_BINARY.*REDIS_URL/ }])
})

t.test(
  'parts live in a folder of any name, reachable from this machine alone, and leave nothing next to it',
  async (t) => {
    const above = t.testdir()
    const dir = join(above, 'a, b:c;d=e \\new #%$& *?[]{}()\'"`<>|!~é…😀\n-z')
    const local = await startLocalParts({ dir, progress: 'silent' })
    t.teardown(() => local.stop())
    t.strictSame(local.missing, [])
    for (const part of Object.values(local.parts)) {
      await part.stop()
      await part.start()
    }
    t.strictSame(readdirSync(above), [basename(dir)])
    t.strictSame(readdirSync(dir).sort(), ['kafka', 'mongo', 'owner.json', 'redis'])
    const listening = Object.values(local.parts).flatMap(({ pid }) => addressesOf(pid))
    t.ok(listening.length >= 4, `${listening.length} listeners`)
    t.strictSame(
      listening.filter((address) => !LOOPBACK.includes(address)),
      []
    )
  }
)

const LOOPBACK = ['0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000']

/** The addresses that a process listens on, as Linux writes them. */
function addressesOf (pid: number): string[] {
  const LISTENS = '0A'
  const sockets = readdirSync(`/proc/${pid}/fd`).map(
    (fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
  )
  const rows = ['tcp', 'tcp6']
    .flatMap((file) => readFileSync(`/proc/net/${file}`, 'utf8').trim().split('\n').slice(1))
    .map((row) => row.trim().split(/\s+/))
  return rows
    .filter(([, , , state, , , , , , inode]) => state === LISTENS && sockets.includes(inode))
    .map(([, address]) => address!.split(':')[0]!)
}

t.test('a copy of the folder of running parts is another folder', async (t) => {
  const above = t.testdir()
  const [dir, copy] = [join(above, 'one'), join(above, 'two')]
  mkdirSync(dir)
  const { owner, part } = await startOwner(dir)
  cpSync(dir, copy, { recursive: true })
  const local = await startRedis(copy)
  t.teardown(() => local.stop())
  t.strictSame(local.missing, [])
  t.ok(isAlive(part), 'the part of the first is left alone')
  t.not(local.parts.redis!.pid, part)
  await t.rejects(startRedis(dir), { message: new RegExp(`${owner.pid}.*LOCAL_DIR`) }, 'which still has its owner')
  owner.kill('SIGTERM')
  await once(owner, 'exit')
  process.kill(part, 'SIGKILL')
})

t.test('a user without a name and without a home can start parts', async (t) => {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  const dir = t.testdir()
  const preload = join(dir, 'nameless.mjs')
  writeFileSync(preload, `
    import os from 'node:os'
    import { syncBuiltinESMExports } from 'node:module'
    os.userInfo = os.homedir = () => { throw new Error('uv_os_get_passwd returned ENOENT') }
    syncBuiltinESMExports()`)
  for (const [index, HOME] of [undefined, '', '/dev/null'].entries()) {
    const { owner, part } = await startOwner(join(dir, String(index)), [`--import=${pathToFileURL(preload)}`], {
      PATH: process.env.PATH,
      XDG_CACHE_HOME: cache,
      ...(HOME === undefined ? {} : { HOME })
    })
    t.ok(isAlive(part), `HOME=${HOME}`)
    owner.kill('SIGTERM')
    await once(owner, 'exit')
    process.kill(part, 'SIGKILL')
  }
})

t.test('what is fetched is kept where it can be: in the home, otherwise among temporary files', async (t) => {
  const home = t.testdir()
  const name = `test-${process.pid}`
  const folders = await Promise.all(
    [{ HOME: home }, { HOME: '/dev/null' }, {}, { XDG_CACHE_HOME: 'relative', HOME: home }].map((env) =>
      cachedFolder(name, env, async () => {})
    )
  )
  for (const folder of folders) t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  t.strictSame(
    folders.map((folder) => folder.startsWith(join(home, '.cache', 'order-service'))),
    [true, false, false, true]
  )
  t.equal(folders[1], folders[2])
})
