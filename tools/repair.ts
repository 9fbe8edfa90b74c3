import type { Collection, Db, Filter } from 'mongodb'
import type { Kafka, Message } from 'kafkajs'
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { laterOf, readCheckpoint, relayNames } from '../src/relay/checkpoint/checkpoint.ts'
import { deadline } from '../src/runtime/deadline.ts'
import { openOrderEventsProducer } from '../src/kafka.ts'
import { leaseName, RELAY_COLLECTION, type LeaseDocument } from '../src/mongo/lease.ts'
import type { OrderDocument } from '../src/models.ts'
import { recordsOfOrders } from '../src/relay/reconciliation/order-records.ts'
import { topicRanges } from '../src/kafka/topic-reader.ts'
import { CannotRun } from './cannot-run.ts'
import { progressOf, relayProgress, type RelayProgress } from './relay-progress.ts'

/*
 * Sends what is missing, and why that makes no second event, whatever other processes do:
 *
 * 1. It has a transactional.id of its own, so the relay isn't fenced. Another repair is: opening the producer, which
 *    comes first, ends what another one has open, and lets its later commits fail. What another one has committed by
 *    then is read in step 3.
 * 2. Then the relay's checkpoint is read from its topic, up to a marker written after the fence. All that the relay
 *    publishes from here on lies after this checkpoint in the oplog: a relay, this or the next one, starts at the last
 *    checkpoint and never goes back. The copy in MongoDB is not taken here: were Kafka to lose its last transactions,
 *    it would be too far.
 * 3. Only then the ends of the topic are asked for, and it is read up to there. They are high watermarks, so they cover
 *    what was committed with that checkpoint even where Kafka has yet to write the mark of its end; the reader waits
 *    for that mark.
 * 4. MongoDB is read after that, and the change stream from the checkpoint to the present after that. An order that is
 *    stored and not in that stream was inserted before the checkpoint; so the relay is done with it. If it isn't on the
 *    topic either, nobody but this repair will ever send it. No clock is part of this; the grace only spares the report
 *    what is under way.
 *
 * Not sent are orders of which an invalid record or a replay is on the topic, or whose record retention may have
 * removed.
 */

const REPAIR_ORDERS_MAX = 200
const ANSWER_MS_MAX = 10_000
/** That a relay leads is known with the next renewal of its lease. */
const BEGIN_MS_MAX = 5_000
const POLL_MS = 100

export type Repair = Awaited<ReturnType<typeof openRepair>>

export async function openRepair ({
  kafka,
  db,
  collection,
  topic
}: {
  kafka: Kafka
  db: Db
  collection: Collection<OrderDocument>
  topic: string
}) {
  const { origin, source, reached: copied } = await relayProgress(db, topic)
  if (origin === undefined || source === undefined) {
    throw new CannotRun(`no service has used the topic ${topic} with this database yet, so nothing is repaired`)
  }
  await relayIsSettled(db, topic)
  const names = relayNames(topic, db.databaseName, source)
  const partitions = (await topicRanges(kafka, topic)).length
  await topicRanges(kafka, names.checkpointTopic)
  const marker: Message = { key: `${names.checkpointKey} repair fence`, value: randomUUID() }
  const producer = await openOrderEventsProducer({
    kafka,
    transactionalId: `${topic}.repair.${db.databaseName}.${source}`,
    topic,
    partitions,
    checkpointTopic: names.checkpointTopic,
    marker
  })

  const waiting: string[] = []

  /** @returns whose events are sent: an order that was deleted meanwhile gets none */
  async function flush (): Promise<string[]> {
    const records = []
    for await (const some of recordsOfOrders(collection, waiting.splice(0))) records.push(...some)
    if (records.length === 0) return []
    const sent = records.map(({ key }) => key)
    // The relay passes over it: it explains where these records came from.
    await producer.publish(records, {
      key: `${names.checkpointKey} repair`,
      value: JSON.stringify({ at: new Date().toISOString(), orders: sent })
    })
    return sent
  }

  return {
    async progress (): Promise<RelayProgress> {
      const checkpoint = await readCheckpoint(kafka, names, producer.fencedAt)
      if (copied !== undefined && checkpoint === undefined) {
        throw new CannotRun(
          `the relay's checkpoint is gone from the topic ${names.checkpointTopic}: bring it back before anything is repaired`
        )
      }
      const known = laterOf(checkpoint, copied)?.topic
      const reached = checkpoint && { ...checkpoint, ...(known === undefined ? {} : { topic: known }) }
      return await progressOf({ db, topic, reached, origin, source, beginning: origin })
    },

    /**
     * Takes an order in, and sends the events of those that were taken in once they are many.
     * @returns whose events are sent now
     */
    async send (id: string): Promise<string[]> {
      waiting.push(id)
      return waiting.length < REPAIR_ORDERS_MAX ? [] : await flush()
    },

    flush,

    close: () => producer.close()
  }
}

/** While the relay begins it may compare orders with the topic, and would send what is missing too. */
async function relayIsSettled (db: Db, topic: string): Promise<void> {
  const beginning = {
    _id: leaseName(topic),
    owner: { $ne: '' },
    leads: { $ne: true },
    $expr: { $gt: ['$expiresAt', '$$NOW'] }
  } as Filter<LeaseDocument>
  for (
    const end = performance.now() + BEGIN_MS_MAX;
    (await db.collection<LeaseDocument>(RELAY_COLLECTION).findOne(beginning, deadline(ANSWER_MS_MAX))) !== null;
  ) {
    if (performance.now() > end) {
      throw new CannotRun(
        'the relay is just beginning, or comparing the orders with the topic: wait until it leads (relay_leader is 1), or stop the service'
      )
    }
    await delay(POLL_MS)
  }
}
