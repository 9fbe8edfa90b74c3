import { join } from 'node:path'
import getPort, { portNumbers } from 'get-port'
import type { Collection } from 'mongodb'
import type { Readiness } from '../../schemas/readiness.ts'
import type { OrderDocument } from '../../src/models.ts'
import type { JobResult, Pace, Requests } from '../load/job.ts'
import { eventually, launch } from '../rig/service.ts'
import type { Contestant } from './contestants.ts'
import { seed, type Seeded } from './seed.ts'
import type { Stage } from './stage.ts'

const UNKNOWN_ID = '0'.repeat(24)
const REDIS_MS_MAX = 30_000
let trials = 0

export interface TrialOptions {
  /** How many orders are there already. */
  orders?: number
  /** Another database than an empty one, with what was seeded there. */
  database?: { name: string, seeded: Seeded }
}

export type Trial = Awaited<ReturnType<typeof startTrial>>

/** One contestant with a database and a topic of its own and an empty Redis, until `end`. */
export async function startTrial (stage: Stage, contestant: Contestant, { orders = 0, database }: TrialOptions = {}) {
  const { mongo, redis, topics, urls, generator } = stage
  const run = `${contestant.name}-${++trials}`
  const name = database?.name ?? `bench-${run}`
  const topic = `bench-${run}-events`
  const db = mongo.db(name)
  const collection: Collection<OrderDocument> = db.collection('orders')
  const seeded = database?.seeded ?? await seed(collection, orders, contestant.kind === 'service')
  await redis.flushdb()
  await topics.create(topic)

  const port = await getPort({ port: portNumbers(18_200, 18_299) })
  const metricsPort = await getPort({ port: portNumbers(19_400, 19_499) })
  let process = start()
  const readyMs = await isReady().then(async (ms) => {
    await usesRedis()
    return ms
  }).catch(async (error) => {
    await process.stop('SIGKILL')
    throw error
  })

  function start (settings: Record<string, string> = {}) {
    return launch(join(stage.dir, 'service'), {
      NODE_ENV: 'production',
      PORT: String(port),
      METRICS_PORT: String(metricsPort),
      MONGO_URL: urls.mongo.replace('/?', `/${name}?`),
      REDIS_URL: urls.redis,
      KAFKA_BROKERS: urls.kafka,
      KAFKA_TOPIC: topic,
      ...contestant.settings,
      ...settings
    }, contestant.command)
  }

  function isReady (): Promise<number> {
    if (contestant.kind === 'service') return process.ready()
    return process.ready(`${process.url}/${UNKNOWN_ID}`, contestant.kind === 'peer' ? 404 : 200)
  }

  /**
   * Until it has looked for fixes by hand as far back as Redis may hold an order, which is the minute of those who ran
   * before it.
   */
  async function usesRedis (): Promise<void> {
    if (contestant.kind !== 'service') return
    await eventually(
      'Redis in use',
      REDIS_MS_MAX,
      async () => ((await (await fetch(`${process.operationsUrl}/readyz`)).json()) as Readiness).redis === true
    )
  }

  return {
    contestant,
    collection,
    topic,
    port,
    ids: seeded.ids,
    seeded,
    readyMs,
    get process () { return process },

    load (connections: number, pace: Pace, requests: Requests, from = generator): Promise<JobResult> {
      return from.run({ port, connections, pace, requests })
    },

    /** Reads these orders, each once. Rejects unless what comes is as long as they are. */
    async readEach (connections: number, from: number, to: number): Promise<JobResult> {
      const result = await this.load(
        connections,
        { count: to - from },
        { kind: 'gets', ids: seeded.ids.slice(from, to), inTurn: true }
      )
      const expected = seeded.sizes.slice(from, to).reduce((sum, size) => sum + size, 0)
      // A line end after each is nothing that a reader would miss.
      if (contestant.kind !== 'ceiling' && result.bytes !== expected && result.bytes !== expected + to - from) {
        throw new Error(`orders of ${result.bytes} bytes, but ${expected} are expected`)
      }
      return result
    },

    async restart (settings: Record<string, string> = {}): Promise<void> {
      await process.stop()
      process = start(settings)
      await isReady()
    },

    /**
     * Rejects unless the orders of the 201s, and no others, are stored and published, each once.
     * @returns by when, by performance.now(), all of them could be read from the topic
     */
    async expectStoredAndTold (created: string[]): Promise<number> {
      const ids = new Set(created)
      const told = await topics.expectExactly(topic, ids)
      const before = new Set(seeded.ids)
      let stored = 0
      let strangers = 0
      for await (const { _id } of collection.find({}, { projection: { _id: 1 } })) {
        const id = _id.toHexString()
        if (ids.has(id)) stored++
        else if (!before.has(id)) strangers++
      }
      if (stored !== created.length || strangers > 0) {
        throw new Error(
          `${created.length} times 201, but ${stored} of these orders are stored, and ${strangers} others`
        )
      }
      return told
    },

    async end (): Promise<void> {
      await process.stop()
      await topics.remove(topic)
      if (database === undefined) await db.dropDatabase()
    }
  }
}

/** Starts it, and ends it whatever comes of it. */
export async function withTrial<T> (
  stage: Stage,
  contestant: Contestant,
  options: TrialOptions,
  use: (trial: Trial) => Promise<T>
): Promise<T> {
  const trial = await startTrial(stage, contestant, options)
  try {
    return await use(trial)
  } finally {
    await trial.end()
  }
}
