import { createRequire } from 'node:module'
import { setTimeout as delay } from 'node:timers/promises'
import { within } from '../../src/runtime/deadline.ts'
import '../../src/kafkajs/aborted-records.ts'
import type { FetchedRecord } from '../../src/kafkajs/aborted-records.ts'

/*
 * Reads a topic from one broker, whether it leads the partitions or follows: any replica may be read (KIP-392). So
 * there is no consumer group, which would be away for seconds when its coordinator is, and no leader to look for.
 * kafkajs offers neither, so its connection to a broker is taken from inside it.
 */

const FETCH_WAIT_MS = 200
/** Well above what a fetch waits for; who answers later is paused or dead. */
const REQUEST_MS_MAX = 1_500
const AGAIN_MS = 50
const BYTES_MAX = 4 * 1024 * 1024
const READ_COMMITTED = 1
const NO_REPLICA = -1

interface Fetched { partition: number, messages: (FetchedRecord & { value: Buffer | null })[] }

interface Connection {
  connect: () => Promise<void>
  disconnect: () => Promise<void>
  fetch: (request: object) => Promise<{ responses: { partitions: Fetched[] }[] }>
}

interface Pools { build: () => Promise<object> }

const require = createRequire(import.meta.url)
const Broker = require('kafkajs/src/broker/index.js') as new (options: object) => Connection
const createPools = require('kafkajs/src/cluster/connectionPoolBuilder.js') as (options: object) => Pools
const createSocketFactory = require('kafkajs/src/network/socketFactory.js') as () => object
const { createLogger, LEVELS } = require('kafkajs/src/loggers/index.js') as {
  createLogger: (options: object) => object, LEVELS: { NOTHING: number }
}

async function open (url: string): Promise<Connection> {
  const logger = createLogger({ level: LEVELS.NOTHING, logCreator: () => () => {} })
  const pools = createPools({
    brokers: [url],
    clientId: 'bench',
    connectionTimeout: REQUEST_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    enforceRequestTimeout: true,
    socketFactory: createSocketFactory(),
    logger
  })
  const connection = new Broker({ connectionPool: await pools.build(), logger })
  await connection.connect()
  return connection
}

/** Hands over the committed records that this broker has and gets, each once, until it is stopped. */
export function readReplica ({ url, topic, partitions, onRecord }: {
  url: string, topic: string, partitions: number, onRecord: (key: string) => void
}): () => Promise<void> {
  /** The offset of the next record of each partition. */
  const positions = Array.from({ length: partitions }, () => 0)
  const stopping = new AbortController()
  const done = follow()

  async function follow (): Promise<void> {
    let connection: Connection | undefined
    while (!stopping.signal.aborted) {
      try {
        connection ??= await within(2 * REQUEST_MS_MAX, 'a broker', open(url))
        const all = [...positions.keys()]
        // The answer as a whole is refused for one partition that can't be read now: then each for itself.
        if (await fetch(connection, all)) continue
        for (const partition of all) await fetch(connection, [partition], 0)
      } catch {
        connection?.disconnect().catch(() => {})
        connection = undefined
      }
      await delay(AGAIN_MS)
    }
    await connection?.disconnect().catch(() => {})
  }

  /** @returns whether these partitions could be read; rejects when the connection is of no more use */
  async function fetch (connection: Connection, wanted: number[], maxWaitTime = FETCH_WAIT_MS): Promise<boolean> {
    const asked = wanted.map((partition) => ({
      partition,
      fetchOffset: String(positions[partition]),
      maxBytes: BYTES_MAX
    }))
    try {
      const { responses } = await within(2 * REQUEST_MS_MAX, 'a fetch', connection.fetch({
        replicaId: NO_REPLICA,
        isolationLevel: READ_COMMITTED,
        maxWaitTime,
        maxBytes: BYTES_MAX,
        topics: [{ topic, partitions: asked }]
      }))
      for (const answer of responses.flatMap(({ partitions }) => partitions)) take(answer)
      return true
    } catch (error) {
      if ((error as Error).name === 'KafkaJSProtocolError') return false
      throw error
    }
  }

  function take ({ partition, messages }: Fetched): void {
    for (const { offset, key, isControlRecord } of messages) {
      if (Number(offset) < positions[partition]!) continue // what comes is whole batches
      positions[partition] = Number(offset) + 1
      if (!isControlRecord && key !== null) onRecord(String(key))
    }
  }

  return async () => {
    stopping.abort()
    await done
  }
}
