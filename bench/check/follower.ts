import { createKafka } from '../../src/kafka/client.ts'
import { atEnd } from '../rig/parts.ts'
import { readReplica } from './replica-reader.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }

const TOPIC = 'order-events'

export type Follower = Awaited<ReturnType<typeof followTopic>>

/**
 * Reads the topic as it grows. It only serves the times of recovery, so it reads from every broker, and an event is
 * there when the first of them shows it: whichever is killed, paused or left behind holds up nothing.
 * @param brokers host:port of each, with commas; each has all partitions
 */
export async function followTopic (brokers: string) {
  const urls = brokers.split(',')
  const admin = createKafka({ brokers: urls, clientId: 'bench', log }).admin()
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
  await admin.disconnect()

  /** When each order's first event was here. */
  const seenAt = new Map<string, number>()
  const onRecord = (key: string): void => { if (!seenAt.has(key)) seenAt.set(key, performance.now()) }
  const partitions = topics[0]!.partitions.length
  const stops = urls.map((url) => readReplica({ url, topic: TOPIC, partitions, onRecord }))
  atEnd(() => Promise.all(stops.map((stop) => stop())))
  return { seenAt }
}
