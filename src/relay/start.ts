import type { Collection, Db, Timestamp } from 'mongodb'
import type { Kafka } from 'kafkajs'
import {
  checkpointMessage,
  fenceMarker,
  laterOf,
  readCheckpoint,
  type Checkpoint,
  type RelayNames
} from './checkpoint/checkpoint.ts'
import { collectionId } from '../mongo/collection-id.ts'
import { adoptEarlier } from './checkpoint/earlier-release.ts'
import type { HeldOrders } from './publishing/held-orders.ts'
import { withAdmin } from '../kafka/admin.ts'
import type { OpenOrderEventsProducer, OrderEventsProducer } from '../kafka.ts'
import type { Lease, LeaseDocument } from '../mongo/lease.ts'
import type { Logger } from '../runtime/logger.ts'
import type { OrderDocument } from '../models.ts'
import { createPublisher, type Publisher, type PublisherOptions } from './publishing/publisher.ts'
import {
  checkCheckpointTopic,
  prepareTopics,
  topicLimits,
  type TopicLimits,
  type TopicSettings
} from './checkpoint/topics.ts'
import { identifyTopic, type LostEnd, type TopicIdentity } from './checkpoint/topic-identity.ts'
import { areBlank, lastOrderMs } from '../kafka/topic-reader.ts'

/*
 * How a leadership begins, at the first start and after any error: fence every older producer, read the last
 * checkpoint, and decide whether the change stream can go on there. Nothing is repaired in place, as only the
 * checkpoint knows what was committed.
 */

export interface StartOptions {
  db: Db
  collection: Collection<OrderDocument>
  kafka: Kafka
  openProducer: OpenOrderEventsProducer
  topic: TopicSettings
  lease: Lease
  held: HeldOrders
  /** Where to start when there is no checkpoint: before the first order of this service. */
  origin: Timestamp
  log: Logger
}

type IsNews = (reason: string) => boolean

/** Where a leadership goes on. */
export interface Place {
  from: Checkpoint
  /** Nothing was published after `from`. A copy of a checkpoint may be older than the last transaction. */
  exact: boolean
  /** Why the orders since then have to be compared with the topic; undefined if the change stream can go on. */
  compare: string | undefined
  identity: TopicIdentity
  /** MongoDB's id of the collection of orders, undefined where this user may not ask for it. */
  collection: string | undefined
  /** Of the latest checkpoint that anybody knows of. */
  seq: number
}

export interface Beginning { publisher: Publisher, producer: OrderEventsProducer, place: Place, limits: TopicLimits }

/**
 * @param lost the checkpoint at which MongoDB could not go on the last time
 * @param bytesMax of a message, where Kafka does not say it
 * @param msMax ms for each transaction
 * @param isNews whether this was not said within the last minute: two copies of a MongoDB take turns in leading all the
 * time
 */
export async function begin (options: StartOptions, names: RelayNames, { lost, bytesMax, msMax, isNews, ...events }: {
  lost: Checkpoint | undefined, bytesMax: number | undefined, msMax: number, isNews: IsNews
} & Pick<PublisherOptions, 'onOversized' | 'onCommit'>): Promise<Beginning> {
  const { kafka, topic: { topic }, lease, held, log } = options
  const limits = await withAdmin(kafka, "Kafka's answer about the topics", async (admin) => {
    await prepareTopics(admin, options.topic, names.checkpointTopic)
    await checkCheckpointTopic(admin, names, log)
    return await topicLimits(admin, topic)
  })
  const producer = await options.openProducer({
    ...names,
    partitions: limits.partitions,
    maxMessageBytes: limits.maxMessageBytes ?? bytesMax,
    marker: fenceMarker(names),
    msMax
  })
  try {
    const place = await findPlace(options, names, producer, lost, isNews)
    const publisher = createPublisher({
      producer,
      names,
      topic,
      identity: place.identity,
      seq: place.seq + 1,
      owner: lease.owner,
      collection: place.collection,
      held,
      log,
      ...events
    })
    return { publisher, producer, place, limits }
  } catch (error) {
    await producer.close()
    throw error
  }
}

async function findPlace (
  options: StartOptions,
  names: RelayNames,
  producer: OrderEventsProducer,
  lost: Checkpoint | undefined,
  isNews: IsNews
): Promise<Place> {
  const {
    kafka,
    topic: { topic },
    lease,
    origin,
    log
  } = options
  const leased = await lease.read()
  const copy = leased?.position as Checkpoint | undefined
  const found =
    (await readCheckpoint(kafka, names, producer.fencedAt)) ??
    (await adoptEarlier({
      ...options,
      topic,
      names,
      until: producer.fencedAt,
      copy,
      adopt: (checkpoint, left) => producer.publish([], checkpointMessage(names, checkpoint), left)
    }))
  const known = found ?? copy
  const copyIsLater = found !== undefined && (copy?.seq ?? -1) > (found.seq ?? -1)
  const latest = laterOf(found, copy)
  const { identity, lost: ends } = await withAdmin(kafka, "Kafka's answer about the topic", (admin) =>
    identifyTopic(admin, topic, latest?.topic)
  )
  const collection = await collectionId(options.db, options.collection.collectionName)
  const seq = Math.max(found?.seq ?? 0, copy?.seq ?? 0)
  const first: Checkpoint = { operationTime: { t: origin.t, i: origin.i }, at: new Date(0).toISOString() }
  const place = (compare: string | undefined, from: Checkpoint = known ?? first, exact = true): Place => ({
    from,
    exact,
    compare,
    identity,
    collection,
    seq
  })

  if (ends.length > 0) {
    const since = await survivors(options, ends, latest!.topic!)
    if (since !== undefined) {
      return place(
        'events',
        {
          ...known!,
          token: undefined,
          operationTime: { t: Math.max(Math.floor(since / 1000), origin.t), i: 1 },
          at: latest!.at
        },
        false
      )
    }
  }
  if (copyIsLater) {
    log.error(
      { topic: names.checkpointTopic, found: found.at, copy: copy!.at },
      `Kafka has lost the last checkpoints of ${topic}: the relay had come to ${copy!.at}, and its topic ${names.checkpointTopic} ends at ${found.at}`
    )
    return place('checkpoints', { ...found, at: copy!.at }, false)
  }
  if (found === undefined && known !== undefined && leased?.final !== true) return place('checkpoint', known, false)
  if (known?.reconciling !== undefined) return place('reconciliation')
  // Only an earlier release writes a copy without a number, so it has published since.
  if (found?.seq !== undefined && copy !== undefined && copy.seq === undefined) {
    return place('earlier release', { ...found, at: copy.at }, false)
  }
  if ((known ?? first).at === lost?.at) return place('oplog')
  if (found?.owner !== undefined && !isKnown(found, leased)) {
    log[isNews('MongoDB') ? 'warn' : 'debug'](
      { topic, owner: found.owner, at: found.at },
      `the last checkpoint of ${topic} was written by ${found.owner}, of which this MongoDB knows nothing: MongoDB was put back to an earlier state, or another copy of it publishes to ${topic} too. If there is another copy, give it another KAFKA_TOPIC`
    )
    return place('MongoDB')
  }
  if (known?.collection !== undefined && collection !== undefined && known.collection !== collection) {
    log[isNews('collection') ? 'warn' : 'debug'](
      { topic },
      'the collection of orders is another one than before: it was restored, renamed or made anew'
    )
    return place('collection')
  }
  return place(undefined)
}

/** A copy of a MongoDB knows the holders from before it was made, but not what they wrote since. */
function isKnown ({ owner, seq = 0 }: Checkpoint, leased: LeaseDocument | null): boolean {
  return seq <= (leased?.begunAt ?? -1) || (leased?.owners?.includes(owner!) ?? false)
}

/**
 * Says which partitions end before what was written to them.
 * @returns the time of the last order of which one of them still has the event; undefined if the topic was made anew:
 * then nothing of what was published is left to compare with
 */
async function survivors (
  { kafka, topic: { topic }, log }: StartOptions,
  lost: LostEnd[],
  known: TopicIdentity
): Promise<number | undefined> {
  const written = [...known.ends.keys()].filter((partition) => known.ends[partition]! > 0)
  const madeAnew = await areBlank(kafka, topic, written)
  for (const { partition, known, end } of madeAnew ? [] : lost) {
    log.error(
      { topic, partition, end, written: known },
      `partition ${partition} of ${topic} ends at offset ${end}, and was written up to ${known}: Kafka has lost events`
    )
  }
  if (!madeAnew) {
    return Math.min(...(await Promise.all(lost.map(({ partition, end }) => lastOrderMs(kafka, topic, partition, end)))))
  }
  log.error(
    { topic, written: known.ends },
    `the topic ${topic} was made anew: the events from before are gone from it, and new ones follow. Subscribers that missed some get them by npm run replay`
  )
  return undefined
}
