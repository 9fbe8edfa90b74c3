import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import kafkajs from 'kafkajs'
import '../src/kafkajs/request-timer.ts'
import {
  type KafkaNode,
  type KafkaSessions,
  type KafkaUser,
  LOG4J_PROPERTIES,
  serverProperties
} from './kafka-config.ts'
import type { Recipe } from './part.ts'
import { type Env, run } from './run.ts'

const PREFERRED_PORT = 9192
const PREFERRED_CONTROLLER_PORT = 9193

const FORMAT_LIMIT_MS = 60_000
const REQUEST_LIMIT_MS = 2_000

export interface KafkaPrograms {
  java: string
  /** The folder of Kafka's jars. */
  libs: string
  /** An archive of the classes in them; it may not exist. */
  classes?: string
}

export interface KafkaOptions {
  kafkaUser?: KafkaUser
  jvmArgs?: string[]
}

/** What makes a broker one of several. Each knows the ports of the others before any has started. */
export interface KafkaMembership {
  clusterId: string
  node: KafkaNode
  nodes: KafkaNode[]
  sessions: KafkaSessions
}

/** @param membership of a broker that is not the only one */
export function kafkaRecipe (
  dir: string,
  { java, libs, classes }: KafkaPrograms,
  env: Env,
  { kafkaUser, jvmArgs = [] }: KafkaOptions = {},
  membership?: KafkaMembership
): Recipe {
  const data = join(dir, 'data')
  const metaFile = join(data, 'meta.properties')
  // Both are named from within the folder, as a comma, a colon or a backslash in its name means something else to Kafka
  // or Java.
  const [configFile, log4jFile] = ['server.properties', 'log4j2.properties']
  const javaArgs = [
    '-XX:+UseSerialGC',
    '-XX:-UsePerfData',
    '-cp',
    join(libs, '*'),
    `-Dlog4j2.configurationFile=${log4jFile}`
  ]
  if (classes && existsSync(classes)) javaArgs.unshift(`-XX:SharedArchiveFile=${classes}`)
  // Otherwise Java reads the names of files by the terminal's locale, and finds none with a letter beyond ASCII.
  const javaEnv = { ...env, LC_ALL: 'C.UTF-8' }
  return {
    name: 'kafka',
    dir,
    env: javaEnv,
    preferredPorts: [PREFERRED_PORT, PREFERRED_CONTROLLER_PORT],
    ...(membership === undefined ? {} : { ports: [membership.node.port, membership.node.controllerPort] }),
    url: (port) => `127.0.0.1:${port}`,
    async command ([port, controllerPort]) {
      mkdirSync(data, { recursive: true })
      writeFileSync(join(dir, log4jFile), LOG4J_PROPERTIES)
      const node = membership?.node ?? { id: 1, port: port!, controllerPort: controllerPort! }
      writeFileSync(join(dir, configFile), serverProperties('data', node, { ...membership, user: kafkaUser }))
      if (!existsSync(metaFile)) {
        await run(
          java,
          [
            ...javaArgs,
            'kafka.tools.StorageTool',
            'format',
            '-t',
            membership?.clusterId ?? newClusterId(),
            '-c',
            configFile,
            '--ignore-formatted'
          ],
          { env: javaEnv, cwd: dir, limitMs: FORMAT_LIMIT_MS }
        )
      }
      return { file: java, args: ['-Xms256m', '-Xmx768m', ...jvmArgs, ...javaArgs, 'kafka.Kafka', configFile] }
    },
    async ready (_pid, [port]) {
      const { clusterId, brokers } = await describeCluster(port!, kafkaUser)
      const known =
        membership === undefined ? brokers.length === 1 : brokers.some(({ nodeId }) => nodeId === membership.node.id)
      return known && clusterId === /^cluster\.id=(.*)$/m.exec(readFileSync(metaFile, 'utf8'))?.[1]
    }
  }
}

async function describeCluster (port: number, user: KafkaUser | undefined) {
  const admin = new kafkajs.Kafka({
    brokers: [`127.0.0.1:${port}`],
    ...(user === undefined ? {} : { sasl: { mechanism: 'plain', ...user } }),
    connectionTimeout: REQUEST_LIMIT_MS,
    requestTimeout: REQUEST_LIMIT_MS,
    enforceRequestTimeout: true,
    retry: { retries: 0 },
    logLevel: kafkajs.logLevel.NOTHING,
  }).admin()
  try {
    await admin.connect()
    return await admin.describeCluster()
  } finally {
    await admin.disconnect()
  }
}

/** 16 random bytes; tools take one that begins with a dash for an option. */
export function newClusterId (): string {
  const id = randomBytes(16).toString('base64url')
  return id.startsWith('-') ? newClusterId() : id
}
