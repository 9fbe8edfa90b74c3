import { checkpointMessage, type Checkpoint, type RelayNames } from '../checkpoint/checkpoint.ts'
import type { HeldOrders } from './held-orders.ts'
import type { EventRecord } from '../../events/packing.ts'
import type { OrderEventsProducer } from '../../kafka.ts'
import type { Logger } from '../../runtime/logger.ts'
import { afterWriting, type TopicIdentity } from '../checkpoint/topic-identity.ts'

export interface PublisherOptions {
  producer: OrderEventsProducer
  names: RelayNames
  topic: string
  /** What the topic is known to be by now. */
  identity: TopicIdentity
  /** Of the last checkpoint that anybody knows of. */
  seq: number
  owner: string
  /** The id of the collection of orders, if MongoDB says it. */
  collection: string | undefined
  held: HeldOrders
  log: Logger
  /** Orders are held back, so many by now. */
  onOversized: (orders: number) => void
  /** A transaction was committed. */
  onCommit: (checkpoint: Checkpoint, events: number, seconds: number) => void
}

export type Publisher = ReturnType<typeof createPublisher>

/** Commits events together with the checkpoint that follows them, during one leadership. */
export function createPublisher ({
  producer,
  names,
  topic,
  identity,
  seq,
  owner,
  collection,
  held,
  log,
  onOversized,
  onCommit
}: PublisherOptions) {
  /**
   * An event that the topic does not take must not hold up all others: it is set aside before the relay goes on, and
   * published by a later leadership if the topic takes it by then.
   */
  async function setAside (records: EventRecord[]): Promise<void> {
    const ids = records.map(({ key }) => key)
    onOversized(await held.add('oversized', ids))
    log.error(
      { topic, orders: ids },
      `the events of these orders are larger than the topic ${topic} takes and are set aside: raise its max.message.bytes, and they are published within five minutes`
    )
  }

  return {
    get identity (): TopicIdentity {
      return identity
    },

    /** Of the last checkpoint. */
    get seq (): number {
      return seq - 1
    },

    takes: producer.takes,

    /** The collection of orders was dropped or renamed, and another one has its name. */
    collectionIs (id: string | undefined): void {
      collection = id
    },

    async commit (records: EventRecord[], reached: Checkpoint): Promise<void> {
      const start = performance.now()
      const oversized = records.filter((record) => !producer.takes(record))
      if (oversized.length > 0) {
        await setAside(oversized)
        records = records.filter((record) => producer.takes(record))
      }
      const checkpoint = { ...reached, seq: seq++, owner, ...(collection === undefined ? {} : { collection }) }
      const written = await producer.publish(records, checkpointMessage(names, { ...checkpoint, topic: identity }))
      const { since } = identity
      identity = afterWriting(identity, written)
      if (identity.since !== since) {
        log.error(
          { topic },
          `the topic ${topic} was made anew while events were published to it: those from before are gone from it. Subscribers that missed them get them by npm run replay`
        )
      }
      onCommit({ ...checkpoint, topic: identity }, records.length, (performance.now() - start) / 1000)
    }
  }
}
