import { randomUUID } from 'node:crypto'
import type { Kafka, Message } from 'kafkajs'
import { within } from './deadline.ts'
import { createConsumer } from './kafka-consumer.ts'
import { forgetGroup, type Checkpoint, type RelayNames } from './relay-topics.ts'

/* What is committed on the topic of the checkpoints: the last record of each key that belongs to a database. */

export interface RelayRecord { value: string | null, offset: number }
export type RelayRecords = Map<string, RelayRecord>

/** Most recent records first: the checkpoint is among the last few, unless many deployments share the topic. */
const WINDOWS = [200, 20_000, Infinity]
const READ_MS_MAX = 60_000
const END_MS_MAX = 20_000

/** What says how many relays there are, of releases that could divide the orders among several. */
interface Layout { shards: number, changingTo?: number }

/**
 * The records before `marker`, which must have been committed: of as few offsets as will do, or of all of them.
 * @param enough by default all records are read
 */
export async function readRecords (kafka: Kafka, names: RelayNames, marker: Message, enough?: (records: RelayRecords) => boolean): Promise<RelayRecords> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    const [{ low, high } = { low: '0', high: '0' }] = await admin.fetchTopicOffsets(names.checkpointTopic)
    for (const window of enough === undefined ? [Infinity] : WINDOWS) {
      const start = Math.max(Number(low), Number(high) - window)
      const records = await readFrom(kafka, names, marker, start)
      if (start === Number(low) || enough?.(records)) return records
    }
    throw new RangeError('the last window covers all') // for the compiler
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

async function readFrom (kafka: Kafka, { checkpointTopic, database }: RelayNames, marker: Message, offset: number): Promise<RelayRecords> {
  // A group of its own: one that a dead leader is still a member of would wait for its session to end.
  const groupId = `${checkpointTopic}.${randomUUID()}`
  const { consumer, end } = createConsumer(kafka, { groupId, maxWaitTimeInMs: 100 })
  const records: RelayRecords = new Map()
  const read = async (): Promise<void> => {
    await consumer.connect()
    await consumer.subscribe({ topic: checkpointTopic, fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      let ended = false
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ message }) => {
          const key = String(message.key)
          if (key === marker.key && String(message.value) === marker.value) {
            ended = true
            resolve()
          } else if (!ended && (key === database || key.startsWith(`${database} `))) {
            records.set(key, { value: message.value === null ? null : String(message.value), offset: Number(message.offset) })
          }
        }
      }).catch(reject)
      consumer.seek({ topic: checkpointTopic, partition: 0, offset: String(offset) })
    })
  }
  try {
    await within(READ_MS_MAX, 'the relay\'s checkpoint', read())
    return records
  } finally {
    await within(END_MS_MAX, 'the end of the checkpoint reader', end()).catch(() => {})
    forgetGroup(kafka, groupId) // nobody waits for it
  }
}

/**
 * The checkpoint among `records`, undefined if there is none.
 * @throws where an earlier release has left the orders divided among several relays: their places are not to be had as one
 */
export function checkpointIn (records: RelayRecords, { checkpointTopic, database }: RelayNames): Checkpoint | undefined {
  const parse = <T>(key: string): T | undefined => {
    const value = records.get(key)?.value
    return typeof value === 'string' ? JSON.parse(value) : undefined
  }
  const checkpoint = parse<Checkpoint & { left?: true, handovers?: unknown[] }>(database)
  const layout = parse<Layout>(`${database} layout`)
  if (checkpoint?.left || checkpoint?.handovers?.length || (checkpoint === undefined && layout !== undefined && (layout.shards > 1 || layout.changingTo !== undefined))) {
    throw new Error(`the topic ${checkpointTopic} says that ${layout?.shards ?? 'several'} relays publish the orders of ${database}, and this release has one: start the release before once more with RELAY_SHARDS=1 and post an order, then upgrade`)
  }
  return checkpoint
}
