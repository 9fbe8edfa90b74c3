import fastify from 'fastify'
import type { Kafka } from 'kafkajs'
import type { Collection, Db } from 'mongodb'
import settingsPlugin, { type SettingsOptions } from '../plugins/settings.ts'
import type { Settings } from '../schemas/settings.ts'
import { createKafka, kafkaSettings } from '../src/kafka/client.ts'
import type { OrderDocument } from '../src/models.ts'
import { createMongoClient, databaseOf } from '../src/mongo/client.ts'
import { explainMongo } from '../src/mongo/reasons.ts'
import { COLLECTION } from '../src/mongo/start.ts'
import { withoutSecrets } from '../src/settings/secrets.ts'
import { CannotRun } from './cannot-run.ts'

/*
 * What the tools share: the service's settings and connections, output, and how they end. Reports go to stdout,
 * everything else to stderr.
 */

/** What a tool works with. */
export interface Workshop {
  settings: Settings
  db: Db
  collection: Collection<OrderDocument>
  kafka: Kafka
  /** A line of the result. */
  print: (line: string) => void
  /** A line about how far it is; at most one every two seconds is shown. */
  progress: (line: string) => void
  /** Aborts when the tool is asked to end. */
  signal: AbortSignal
}

export interface Tool<Options> {
  usage: string
  /** @throws an Error that says what is wrong with the arguments */
  parse: (args: string[]) => Options
  /** @returns the exit code */
  run: (options: Options, workshop: Workshop) => Promise<number>
}

export interface ToolOptions {
  args: string[]
  /** Read `.env` too. */
  dotenv?: boolean
  env?: NodeJS.ProcessEnv
  /** Goes before the environment. */
  settings?: Partial<Settings>
  out: (text: string) => void
  err: (text: string) => void
  signal?: AbortSignal
}

const CANNOT_RUN = 2
const PROGRESS_MS = 2_000
const ignored = (): void => {}
const log = { debug: ignored, info: ignored, warn: ignored, error: ignored }

/** @returns the exit code: the tool's own, or 2 after one line on stderr that says why it can't run */
export async function runTool<Options> (tool: Tool<Options>, {
  args, dotenv = false, env = {}, settings: given = {}, out, err, signal = new AbortController().signal
}: ToolOptions): Promise<number> {
  const fail = (error: Error): number => {
    err(`${withoutSecrets(error.message).replaceAll(/\s*\n\s*/g, ' ')}\n`)
    return CANNOT_RUN
  }
  let options: Options
  try {
    options = tool.parse(args)
  } catch (error) {
    return fail(new CannotRun(`${(error as Error).message.replace(/\.?$/, '.')} Usage: ${tool.usage}`))
  }
  let client: ReturnType<typeof createMongoClient> | undefined
  try {
    const settings = await readSettings({ dotenv, env, settings: { ...given, REDIS_URL: 'off' } }, err)
    client = createMongoClient(settings.MONGO_URL)
    await client.connect().catch((error) => { throw explainMongo(error, settings.MONGO_URL) })
    const db = client.db(databaseOf(settings.MONGO_URL))
    return await tool.run(options, {
      settings,
      db,
      collection: db.collection<OrderDocument>(COLLECTION),
      kafka: createKafka({ ...kafkaSettings(settings), clientId: 'order-service-tools', log }),
      print: (line) => out(`${line}\n`),
      progress: seldom((line) => err(`${line}\n`)),
      signal
    })
  } catch (error) {
    return fail(error as Error)
  } finally {
    await client?.close()
  }
}

/** By the service's own plugin, so that the tools take for right what the service does. They have no use for Redis. */
async function readSettings (options: SettingsOptions, err: (text: string) => void): Promise<Settings> {
  const app = fastify({ logger: { stream: { write: err } } })
  try {
    await app.register(settingsPlugin, options)
    const { MONGO_URL, KAFKA_BROKERS } = app.settings
    const empty = Object.entries({ MONGO_URL, KAFKA_BROKERS })
      .filter(([, value]) => value === '' || value === 'off')
      .map(([name]) => name)
    if (empty.length > 0) {
      throw new CannotRun(
        `${empty.join(' and ')} must say where the service's data is: no local parts are started for this`
      )
    }
    return app.settings
  } finally {
    await app.close()
  }
}

function seldom (show: (line: string) => void): (line: string) => void {
  let shownAt = -Infinity
  return (line) => {
    if (performance.now() - shownAt < PROGRESS_MS) return
    shownAt = performance.now()
    show(line)
  }
}
