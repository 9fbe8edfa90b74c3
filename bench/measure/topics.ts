import { randomUUID } from 'node:crypto'
import { createKafka } from '../../src/kafka/client.ts'
import { createConsumer } from '../../src/kafka/consumer.ts'
import { eventually } from '../rig/service.ts'

const nothing = (): void => {}
const PARTITIONS = 6
const EVENTS_MS_MAX = 60_000
/** In which a record too many would have come: a transaction of the relay takes some 30 ms. */
const QUIET_MS = 500

export type Topics = ReturnType<typeof createTopics>

/** Topics of runs, which come and go, and what is on them for a reader of committed records. */
export function createTopics (brokers: string) {
  const kafka = createKafka({
    brokers: [brokers],
    clientId: 'bench',
    log: { debug: nothing, info: nothing, warn: nothing, error: nothing }
  })
  const admin = kafka.admin()

  /** Calls `onRecord` with the key of each record that is there and that comes. @returns how to stop */
  async function follow (topic: string, onRecord: (key: string, at: number) => void): Promise<() => Promise<void>> {
    const { consumer, end } = createConsumer(kafka, {
      groupId: `bench-${randomUUID()}`,
      minBytes: 1,
      maxWaitTimeInMs: 500
    })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const joined = new Promise<void>((resolve) => { consumer.on(consumer.events.GROUP_JOIN, () => resolve()) })
    const crashed = new Promise<never>((_resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
        if (!restart) reject(error)
      })
    })
    crashed.catch(() => {}) // shown by the count, if it comes later
    await consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: PARTITIONS,
      async eachBatch ({ batch }) {
        const at = performance.timeOrigin + performance.now()
        for (const { key } of batch.messages) onRecord(String(key), at)
      }
    })
    await Promise.race([joined, crashed])
    return end
  }

  return {
    /**
     * The first group of a broker waits until its coordinator has a topic of its own, on a busy machine for long: that
     * is got over with here.
     */
    async connect (): Promise<void> {
      await admin.connect()
      const topic = 'bench-first'
      await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] })
      await eventually('a group of consumers', EVENTS_MS_MAX, () =>
        follow(topic, () => {})
          .then((stop) => stop())
          .then(
            () => true,
            () => false
          )
      )
      await admin.deleteTopics({ topics: [topic] })
    },

    disconnect: () => admin.disconnect(),
    follow,

    async create (topic: string): Promise<void> {
      await admin.createTopics({
        waitForLeaders: true,
        topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }]
      })
    },

    /** With those that a relay has derived from it. */
    async remove (topic: string): Promise<void> {
      const topics = (await admin.listTopics()).filter((name) => name.startsWith(topic))
      await admin.deleteTopics({ topics })
    },

    /**
     * Rejects unless the topic gets to hold one record for each of `ids`, and no other.
     * @returns when the last was there, by performance.now()
     */
    async expectExactly (topic: string, ids: Set<string>): Promise<number> {
      const seen = new Set<string>()
      let records = 0
      let strangers = 0
      let last = performance.now()
      const stop = await follow(topic, (key) => {
        records++
        if (!ids.has(key)) strangers++
        seen.add(key)
        last = performance.now()
      })
      try {
        await eventually('all events on the topic', EVENTS_MS_MAX, () => records >= ids.size).catch(() => {})
        const settled = (): boolean => performance.now() - last > QUIET_MS
        await eventually('the end of the topic', EVENTS_MS_MAX, settled)
      } finally {
        await stop()
      }
      if (seen.size !== ids.size || records !== ids.size || strangers > 0) {
        throw new Error(
          `${ids.size} orders, but ${records} records of ${seen.size} orders on the topic, ${strangers} of other orders`
        )
      }
      return last
    }
  }
}
