import { rm } from 'node:fs/promises'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { ownDir } from './claims.ts'
import { findKafka } from './kafka-programs.ts'
import { type KafkaOptions, kafkaRecipe } from './kafka.ts'
import { type MongoOptions, findMongo, mongoRecipe } from './mongo.ts'
import { type Part, type PartName, type Recipe, startPart } from './part.ts'
import { releasePorts } from './ports.ts'
import { endLeftover } from './processes.ts'
import { type Fetching, runJobs } from './progress.ts'
import { findRedis, redisRecipe } from './redis.ts'
import type { Env } from './run.ts'

export type { Part, PartName } from './part.ts'

export interface LocalParts {
  /** A part that could not be had is absent here and in `parts`. */
  urls: { mongo?: string, redis?: string, kafka?: string }
  /** One line each: what could not be had, and what would provide it. */
  missing: { part: PartName, reason: string }[]
  parts: Partial<Record<PartName, Part>>
  /** Ends them all, within 13 s each at worst (SIGTERM, then SIGKILL). May be called again. */
  stop (): Promise<void>
}

export interface LocalPartsOptions extends MongoOptions, KafkaOptions {
  /** Holds data, logs and ports; owned by one process at a time. */
  dir: string
  parts?: PartName[]
  progress?: 'visible' | 'silent'
  /**
   * Where the search looks (MONGOD_BINARY, REDIS_SERVER_BINARY, KAFKA_HOME, JAVA_HOME, PATH, XDG_CACHE_HOME) and what
   * the parts inherit.
   */
  env?: Env
  /** Begins with empty data. */
  fresh?: boolean
}

const ALL: PartName[] = ['mongo', 'redis', 'kafka']

/**
 * Starts the real MongoDB, Redis and Kafka for development and tests, fetching them once if they aren't there.
 * Throws when another living process runs parts in `dir`; a part that can't be had is named in `missing`.
 */
export async function startLocalParts ({
  parts: names = ALL,
  progress = 'visible',
  env = process.env,
  fresh = false,
  ...options
}: LocalPartsOptions): Promise<LocalParts> {
  const dir = resolve(options.dir)
  const disown = ownDir(dir)
  const parts: LocalParts['parts'] = {}
  const urls: LocalParts['urls'] = {}
  const missing: LocalParts['missing'] = []
  const stopListening = exitOnSignal()
  try {
    await runJobs(
      names.map((name) => ({ name, run: (fetching) => start(name, fetching) })),
      progress
    )
  } finally {
    stopListening()
  }
  let stopped: Promise<void> | undefined
  return {
    urls,
    missing,
    parts,
    stop: () => {
      return (stopped ??= stop())
    }
  }

  async function start (name: PartName, fetching: Fetching): Promise<string> {
    try {
      const partDir = join(dir, name)
      if (fresh) {
        await endLeftover(join(partDir, 'pid.json'))
        await rm(partDir, { recursive: true, force: true })
      }
      const part = await startPart(await recipe(name, partDir, fetching))
      parts[name] = part
      urls[name] = part.url
      return `port ${part.port}`
    } catch (error) {
      missing.push({ part: name, reason: (error as Error).message })
      throw error
    }
  }

  async function recipe (name: PartName, partDir: string, fetching: Fetching): Promise<Recipe> {
    switch (name) {
      case 'mongo':
        return mongoRecipe(partDir, (await findMongo(env, fetching)).file, env, options)
      case 'redis':
        return redisRecipe(partDir, (await findRedis(env, fetching)).file, env)
      case 'kafka':
        return kafkaRecipe(partDir, await findKafka(env, fetching), env, options)
    }
  }

  async function stop () {
    const running = Object.values(parts)
    const results = await Promise.allSettled(running.map((part) => part.stop()))
    for (const name of names) releasePorts(join(dir, name))
    disown()
    const failure = results.find((result) => result.status === 'rejected')
    if (failure) throw failure.reason
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * A signal that nobody listens for ends Node without its `exit` event, and what was started until then would be left
 * behind. So listen during the start, which may be a long download; whoever listens by himself is left to decide.
 */
function exitOnSignal (): () => void {
  const exit = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal])
  const signals = SIGNALS.filter((signal) => process.listenerCount(signal) === 0)
  for (const signal of signals) process.once(signal, exit)
  return () => {
    for (const signal of signals) process.off(signal, exit)
  }
}
