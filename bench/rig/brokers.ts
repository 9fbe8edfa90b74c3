import { join } from 'node:path'
import type { KafkaSessions } from '../../local/kafka-config.ts'
import { startKafkaCluster } from '../../local/kafka-cluster.ts'
import type { Part } from '../../local/part.ts'
import { atEnd, startParts } from './parts.ts'
import { giveBack, inSync, moveLeaders, moveReplicas, readPartitions, wantInSync } from './partitions.ts'
import type { Settings } from './service.ts'

const TOPIC = 'order-events'
const TRANSACTION_TOPIC = '__transaction_state'
export const BROKER_COUNTS = [1, 3]

export type Brokers = Awaited<ReturnType<typeof startBrokers>>

/** Kafka as one broker or as three, with what is asked of all of them. */
export async function startBrokers (dir: string, count: number, sessions: KafkaSessions) {
  const { all, url } = count === 1 ? await startOne(dir) : await startThree(dir, sessions)
  const urls = url.split(',')

  /** The port of one that can answer. */
  function runningPort (): number {
    return all.find((part) => !part.exited)!.port
  }

  return {
    all,
    url,
    /** The settings that a service needs for them. */
    settings: (count === 1 ? {} : { KAFKA_TOPIC_REPLICATION: String(count) }) as Settings,
    /** The one that leads most partitions of the events. */
    async leading (): Promise<Part> {
      const leaders = (await readPartitions(urls)).filter(({ topic }) => topic === TOPIC).map(({ leader }) => leader)
      const led = all.map((_part, index) => leaders.filter((leader) => leader === index + 1).length)
      return all[led.indexOf(Math.max(...led))]!
    },
    /** The one that coordinates a producer's transactions: it leads the partition that the producer's id falls into. */
    async coordinator (transactionalId: string): Promise<Part> {
      const partitions = (await readPartitions(urls)).filter(({ topic }) => topic === TRANSACTION_TOPIC)
      const own = Math.abs(javaHash(transactionalId)) % partitions.length
      return all[partitions.find(({ partition }) => partition === own)!.leader - 1]!
    },
    /** How many replicas must have an event; without a number as many as the brokers say. */
    wantInSync: (replicas: number | undefined): Promise<void> => wantInSync(urls, TOPIC, replicas),
    inSync: (): Promise<void> => inSync(urls),
    moveLeaders: (topic?: string) => moveLeaders(urls, runningPort(), topic),
    moveReplicas: (): Promise<void> => moveReplicas(urls),
    async heal (): Promise<void> {
      for (const part of all) part.resume()
      await Promise.all(all.map((part) => part.start()))
      await giveBack(urls, all.map((_part, index) => index + 1))
      await wantInSync(urls, TOPIC, undefined)
      await inSync(urls)
    }
  }
}

/** Of a text, as Java's String.hashCode. */
function javaHash (text: string): number {
  let hash = 0
  for (let index = 0; index < text.length; index++) hash = (Math.imul(hash, 31) + text.charCodeAt(index)) | 0
  return hash
}

async function startOne (dir: string): Promise<{ all: Part[], url: string }> {
  const { urls, parts } = await startParts({ dir, parts: ['kafka'], fresh: true })
  return { all: [parts.kafka!], url: urls.kafka! }
}

async function startThree (dir: string, sessions: KafkaSessions): Promise<{ all: Part[], url: string }> {
  const fetching = { begin: (title: string) => console.log(title), line () {} }
  const cluster = await startKafkaCluster({ dir: join(dir, 'cluster'), sessions, fetching })
  atEnd(() => cluster.end())
  return { all: cluster.brokers, url: cluster.url }
}
