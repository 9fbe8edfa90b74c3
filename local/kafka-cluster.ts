import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import '../src/kafkajs/request-timer.ts'
import { ownDir } from './claims.ts'
import type { KafkaSessions } from './kafka-config.ts'
import { findKafka } from './kafka-programs.ts'
import { kafkaRecipe, newClusterId } from './kafka.ts'
import { type Part, startPart } from './part.ts'
import { choosePorts, releasePorts } from './ports.ts'
import type { Fetching } from './progress.ts'
import type { Env } from './run.ts'

/** The least that keeps both its records and its controllers' majority when one is away. */
const NODE_IDS = [1, 2, 3]
const PREFERRED_PORT = 9292

/** Several fit beside each other; Kafka's default is 1 GB. */
const HEAP = ['-Xms128m', '-Xmx384m']

const COMPLETE_LIMIT_MS = 30_000
const COMPLETE_POLL_MS = 50

export interface KafkaCluster {
  /** Each can be killed, paused and started alone; the node id is its place, counted from 1. */
  brokers: Part[]
  /** host:port of each, with commas. */
  url: string
  /** Ends them all by SIGKILL: nobody reads their data again. */
  end (): Promise<void>
}

export interface KafkaClusterOptions {
  /** Of this cluster alone, owned by one process at a time. Its data is expected to be new. */
  dir: string
  env?: Env
  sessions?: KafkaSessions
  fetching?: Fetching
}

/** The folder of each broker, below that of the cluster. */
export const BROKER_FOLDERS = NODE_IDS.map((id) => `broker-${id}`)

/** Three real brokers, which are controllers too, with three replicas of everything, of which two must be in sync. */
export async function startKafkaCluster (options: KafkaClusterOptions): Promise<KafkaCluster> {
  const { env = process.env, sessions = 'default', fetching = silent } = options
  const dir = resolve(options.dir)
  mkdirSync(dir, { recursive: true })
  const disown = ownDir(dir)
  const folders = BROKER_FOLDERS.map((name) => join(dir, name))
  const started: Part[] = []
  try {
    const programs = await findKafka(env, fetching)
    const nodes = await Promise.all(NODE_IDS.map(async (id, index) => {
      const preferred = PREFERRED_PORT + 2 * index
      const [port, controllerPort] = await choosePorts(folders[index]!, [preferred, preferred + 1], new Set())
      return { id, port: port!, controllerPort: controllerPort! }
    }))
    const clusterId = newClusterId()
    // All at once: none is ready before two of them agree.
    const results = await Promise.allSettled(nodes.map(async (node, index) => {
      const membership = { clusterId, node, nodes, sessions }
      const part = await startPart(kafkaRecipe(folders[index]!, programs, env, { jvmArgs: HEAP }, membership))
      started.push(part)
      return part
    }))
    const brokers = results.map((result) => {
      if (result.status === 'rejected') throw result.reason
      return result.value
    })
    const url = brokers.map((broker) => broker.url).join(',')
    await complete(url)
    return { brokers, url, end }
  } catch (error) {
    await end()
    throw error
  }

  async function end (): Promise<void> {
    await Promise.all(started.map((part) => part.kill()))
    for (const folder of folders) releasePorts(folder)
    disown()
  }
}

const silent: Fetching = { begin () {}, line () {} }

/** A topic of three replicas can be made only once all three brokers have registered. */
async function complete (url: string): Promise<void> {
  const admin = new kafkajs.Kafka({ brokers: url.split(','), logLevel: kafkajs.logLevel.NOTHING }).admin()
  try {
    await admin.connect()
    for (const end = Date.now() + COMPLETE_LIMIT_MS; Date.now() < end; await sleep(COMPLETE_POLL_MS)) {
      if ((await admin.describeCluster()).brokers.length === NODE_IDS.length) return
    }
    throw new Error(`not all ${NODE_IDS.length} brokers had registered within ${COMPLETE_LIMIT_MS / 1000} s`)
  } finally {
    await admin.disconnect()
  }
}
