import { Partitioners, type Kafka, type KafkaMessage, type Message } from 'kafkajs'
import { within } from './runtime/deadline.ts'
import { createConsumer, whileAlive } from './kafka/consumer.ts'
import { assertWritten } from './kafka/written.ts'
import './kafkajs/aborted-records.ts' // also for a subscriber with a Kafka client of its own
import { createPacker, MESSAGE_BYTES_MAX, type EventRecord } from './events/packing.ts'
import { receive, type ReceivedOrderEvent } from './events/received-event.ts'

export type { ReceivedOrderEvent }

/* Both ends of `order-events`: the producer, which the relay uses, and the consumer, for subscribers. */

const TRANSACTION_MS_MAX = 15_000
const CLOSE_MS_MAX = 2_000

/** What a transaction wrote to a partition of the event topic. */
export interface Written { partition: number, offset: number, count: number }

/** What a transaction wrote, and where on the topic of the checkpoints its own are. */
interface Transacted { written: Written[], checkpointAt: number }

export type OrderEventsProducer = Awaited<ReturnType<typeof openOrderEventsProducer>>

/** Opens it on a Kafka and a topic that are known. */
export type OpenOrderEventsProducer = (options: OrderEventsProducerOptions) => Promise<OrderEventsProducer>

export interface OrderEventsProducerOptions {
  transactionalId: string
  /** Of the topic. */
  partitions: number
  checkpointTopic: string
  marker: Message
  /** The topic's `max.message.bytes`. */
  maxMessageBytes?: number | undefined
  /** ms for each transaction; after twice that Kafka aborts what a dead relay left open. */
  msMax?: number
}

/**
 * Opens the transactional producer and fences every older one of the same `transactionalId`: what they have not
 * committed by now never will be. kafkajs' `connect()` does not do that, only a new transaction does; so a first one is
 * committed here, with `marker` as its only record.
 * @throws what kafkajs throws, as `publish` does. After an error the producer must be closed and not be used again:
 * then only the checkpoint says what was committed.
 */
export async function openOrderEventsProducer ({
  kafka,
  transactionalId,
  topic,
  partitions,
  checkpointTopic,
  marker,
  maxMessageBytes = MESSAGE_BYTES_MAX,
  msMax = TRANSACTION_MS_MAX
}: { kafka: Kafka, topic: string } & OrderEventsProducerOptions) {
  const packer = createPacker(partitions, maxMessageBytes)
  const producer = kafka.producer({
    transactionalId,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    transactionTimeout: 2 * msMax,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { retries: 0 } // kafkajs would send twice what it has no answer for yet, see src/kafkajs/transactions.ts
  })

  let closed = false

  /** One that was given up may end after `close`, and for what it had asked for kafkajs connects once more. */
  async function transactOrEnd (records: EventRecord[], checkpoints: Message[]): Promise<Transacted> {
    try {
      return await transact(records, checkpoints)
    } finally {
      if (closed) await producer.disconnect().catch(() => {})
    }
  }

  async function transact (records: EventRecord[], checkpoints: Message[]): Promise<Transacted> {
    const batches = packer.pack(records).map((messages) => [{ topic, messages }])
    const last = {
      topic: checkpointTopic,
      messages: checkpoints.map((checkpoint) => ({ ...checkpoint, partition: 0 }))
    }
    if (batches.length === 0) batches.push([last])
    else batches.at(-1)!.push(last) // mostly there is one, and no time for one more round trip
    const written: Written[] = []
    let checkpointAt = 0
    const transaction = await producer.transaction()
    // One that fails is not aborted here: the abort would overtake what other brokers have not looked at yet, and leave
    // that to the next commit. The next producer's InitProducerId aborts it in a higher epoch, which shuts out what
    // comes late.
    for (const topicMessages of batches) {
      const answers = await transaction.sendBatch({ acks: -1, topicMessages })
      assertWritten(topicMessages, answers)
      for (const { topicName, partition, baseOffset } of answers) {
        const offset = Number(baseOffset)
        if (topicName === checkpointTopic) checkpointAt = offset
        else {
          written.push({
            partition,
            offset,
            count: topicMessages[0]!.messages.filter((one) => one.partition === partition).length
          })
        }
      }
    }
    await transaction.commit()
    return { written, checkpointAt }
  }

  async function close (): Promise<void> {
    closed = true
    // It waits for its pending requests, of which a dead broker answers none (tulios/kafkajs#918).
    await within(CLOSE_MS_MAX, 'the end of the Kafka producer', producer.disconnect()).catch(() => {})
  }

  let fencedAt = 0
  try {
    // kafkajs goes on with a socket that is dead but open (tulios/kafkajs#1783): each transaction has a deadline of its
    // own.
    const { checkpointAt } = await within(
      msMax,
      'the Kafka producer',
      producer.connect().then(() => transactOrEnd([], [marker]))
    )
    fencedAt = checkpointAt
  } catch (error) {
    await close()
    throw error
  }

  return {
    /** Where the marker is on the topic of the checkpoints: all that older producers have committed is before it. */
    fencedAt,

    /** Whether the topic takes a record at all. */
    takes: packer.takes,

    /** Commits the records and the checkpoints together, or none of them. @returns where the records are */
    publish: async (records: EventRecord[], ...checkpoints: Message[]): Promise<Written[]> =>
      (await within(msMax, 'the end of the Kafka transaction', transactOrEnd(records, checkpoints))).written,

    close
  }
}

export interface OrderEventsConsumerOptions {
  /**
   * Of its own, where a process has several consumers of one group: kafkajs keeps what a group has committed with the
   * client.
   */
  kafka: Kafka
  groupId: string
  topic?: string
  /** Where a group without committed offsets starts: at the oldest record (true) or after the newest. */
  fromBeginning?: boolean
  /**
   * Deals with the events of one partition, in their order. The offsets are committed after it; if it throws, the same
   * events come again.
   */
  onBatch: (events: ReceivedOrderEvent[]) => Promise<void>
  /** Decides about a record that is no order event. By default it throws, which makes kafkajs try it again. */
  onInvalid?: (message: KafkaMessage, partition: number, reason: string) => Promise<void>
  /**
   * kafkajs has given up, of an error that it takes for lasting, such as an unexpected one of the broker: no event
   * comes any more. By default the error is thrown where nobody can catch it, as a process that ends is started again.
   */
  onCrash?: (error: Error) => void
}

/** New records end a fetch at once, but `stop` waits for the one at hand: by default that is up to 5 s. */
const IDLE_FETCH_MS = 500

/**
 * A consumer of order events. It sees committed records only, each at least once. A batch comes again after a crash
 * between `onBatch` and the commit of its offsets, and where the group has given its partition to another member by
 * then: if it blocks this process for more than 30 s (kafkajs' session), or takes another 60 s after members have come
 * or gone.
 * @throws what kafkajs gave up for before it had joined
 * @returns once it has joined the group; `stop` finishes the batch at hand, commits it and leaves
 */
export async function startOrderEventsConsumer ({
  kafka,
  groupId,
  topic = 'order-events',
  fromBeginning = true,
  onBatch,
  onInvalid = rejectInvalid,
  onCrash = throwUncaught
}: OrderEventsConsumerOptions) {
  const endable = createConsumer(kafka, { groupId, maxWaitTimeInMs: IDLE_FETCH_MS })
  const { consumer } = endable
  let hasJoined = false
  const joined = new Promise<void>((resolve, reject) => {
    consumer.on(consumer.events.GROUP_JOIN, () => {
      hasJoined = true
      resolve()
    })
    consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
      if (!restart && !endable.ended) (hasJoined ? onCrash : reject)(error)
    })
  })
  joined.catch(() => {}) // it may crash before it is waited for
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning })
    await consumer.run({
      eachBatch: ({ batch, heartbeat }) =>
        whileAlive(heartbeat, async () => {
          const events: ReceivedOrderEvent[] = []
          for (const message of batch.messages) {
            const received = receive(message, batch.partition)
            if (typeof received === 'string') await onInvalid(message, batch.partition, received)
            else events.push(received)
          }
          if (events.length > 0) await onBatch(events)
        })
    })
    await joined
  } catch (error) {
    // Otherwise its connections would keep the process alive.
    await within(CLOSE_MS_MAX, 'the end of the consumer', endable.end()).catch(() => {})
    throw error
  }
  return { stop: endable.end }
}

function throwUncaught (error: Error): void {
  queueMicrotask(() => { throw error })
}

async function rejectInvalid (message: KafkaMessage, partition: number, reason: string): Promise<void> {
  throw new Error(`the record at offset ${message.offset} of partition ${partition} is no order event: ${reason}`)
}
