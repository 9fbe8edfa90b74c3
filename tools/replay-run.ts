import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Partitioners, type Message } from 'kafkajs'
import { within } from '../src/runtime/deadline.ts'
import { checkpointTopicOf } from '../src/relay/checkpoint/checkpoint.ts'
import { withAdmin } from '../src/kafka/admin.ts'
import { PARTITION_BYTES_MAX, sizeOf } from '../src/events/packing.ts'
import { assertWritten } from '../src/kafka/written.ts'
import { isOrderDocument, toRecord, writtenByUs } from '../src/models.ts'
import { createPartitionOf } from '../src/events/partition.ts'
import { countPartitions, prepareTopics } from '../src/relay/checkpoint/topics.ts'
import { CannotRun } from './cannot-run.ts'
import { storedOrders, timeFrom, type Range } from './stored-orders.ts'
import type { Tool } from './tool.ts'

/*
 * Sends the events of stored orders once more, for a subscriber that began after them. They come from MongoDB, so that
 * those are there too which retention has removed from the topic. Key and value are the same as the first time, and so
 * are the headers, with a header `replay: true`.
 *
 * At least once: what was being sent when it was interrupted may come again with the rest. `ce_id` shows it.
 */

interface ReplayOptions extends Range {
  user?: string | undefined
  to: string
  rate: number
  after?: string | undefined
}

const SEND_MS_MAX = 30_000
const CLOSE_MS_MAX = 2_000
/** Sends in a second: at a low rate the records come evenly, at a high one many go together. */
const SENDS_PER_SECOND = 10
const BATCH_RECORDS_MAX = 500
const RATE_MAX = 100_000

export const replay: Tool<ReplayOptions> = {
  usage:
    'npm run replay -- --to TOPIC [--since TIME] [--until TIME] [--user ID] [--after ORDER_ID] [--rate RECORDS_PER_SECOND]',

  parse (args) {
    const { values } = parseArgs({
      args,
      options: {
        since: { type: 'string' },
        until: { type: 'string' },
        user: { type: 'string' },
        to: { type: 'string' },
        rate: { type: 'string', default: '1000' },
        after: { type: 'string' }
      }
    })
    const { user, to, after } = values
    if (to === undefined) {
      throw new Error(
        '--to must name the topic to send to: a new one for the subscriber, or the main topic, whose subscribers then all get the events again'
      )
    }
    if (!/^[a-zA-Z0-9._-]{1,200}$/.test(to) || to.endsWith('.checkpoints')) {
      throw new Error(
        "--to must be a topic of 1–200 letters, digits, dots, dashes and underscores, and not the relay's own"
      )
    }
    if (after !== undefined && !/^[0-9a-f]{24}$/i.test(after)) {
      throw new Error('--after must be an order id: 24 hex digits')
    }
    const rate = /^\d{1,6}$/.test(values.rate) ? Number(values.rate) : 0
    if (rate < 1 || rate > RATE_MAX) {
      throw new Error(`--rate must be a number of records a second from 1 to ${RATE_MAX}`)
    }
    return { since: timeFrom('since', values.since), until: timeFrom('until', values.until), user, to, rate, after }
  },

  async run ({ user, to, rate, after, ...range }, { settings, kafka, collection, print, progress, signal }) {
    if (to === checkpointTopicOf(settings.KAFKA_TOPIC)) throw new CannotRun(`${to} is the relay's own topic`)
    const partitions = await withAdmin(kafka, "Kafka's answer about the topic", async (admin) => {
      await prepareTopics(admin, {
        topic: to,
        partitions: settings.KAFKA_TOPIC_PARTITIONS,
        replicationFactor: settings.KAFKA_TOPIC_REPLICATION
      })
      return await countPartitions(admin, to)
    })
    const partitionOf = createPartitionOf(partitions)
    const producer = kafka.producer({
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner
    })
    const batchMax = Math.min(BATCH_RECORDS_MAX, Math.max(1, Math.floor(rate / SENDS_PER_SECOND)))
    let sent = 0
    let last = after
    let batch: Message[] = []
    let bytes = 0
    let due = 0

    async function send (): Promise<void> {
      if (batch.length === 0) return
      await delay(Math.max(0, due - performance.now()), undefined, { signal }).catch(() => {})
      if (signal.aborted) return
      // What a slow answer cost is not made up for: that would be a burst.
      due = performance.now() + (batch.length / rate) * 1000
      const topicMessages = [{ topic: to, messages: batch }]
      assertWritten(
        topicMessages,
        await within(SEND_MS_MAX, "Kafka's answer", producer.sendBatch({ acks: -1, topicMessages }))
      )
      sent += batch.length
      last = String(batch.at(-1)!.key)
      batch = []
      bytes = 0
      progress(`${sent} sent, the last one is ${last}`)
    }

    const hint = (): string => (last === undefined ? 'nothing was sent' : `${sent} sent; go on with --after ${last}`)
    try {
      await within(SEND_MS_MAX, 'Kafka', producer.connect())
      // What is made later is published by the relay, for subscribers that are there by now. Rather one second twice
      // than none.
      const until = range.until ?? new Date(Date.now() + 1000)
      for await (const page of storedOrders(
        collection,
        { ...range, until },
        { ...writtenByUs(), ...(user === undefined ? {} : { userId: user }) },
        after
      )) {
        for (const document of page) {
          if (!isOrderDocument(document)) continue
          const record = toRecord(document)
          const { key, value, headers } = record
          const size = sizeOf(record)
          if (batch.length === batchMax || bytes + size > PARTITION_BYTES_MAX) await send()
          if (signal.aborted) throw new CannotRun('it was asked to end')
          batch.push({ key, value, headers: { ...headers, replay: 'true' }, partition: partitionOf(key) })
          bytes += size
        }
      }
      await send()
      if (signal.aborted) throw new CannotRun('it was asked to end')
    } catch (error) {
      throw new CannotRun(`${(error as Error).message}: ${hint()}`, { cause: error })
    } finally {
      await within(CLOSE_MS_MAX, 'the end of the producer', producer.disconnect()).catch(() => {})
    }
    print(`${sent} events sent to ${to}${last === undefined ? '' : `, the last one is ${last}`}`)
    return 0
  }
}
