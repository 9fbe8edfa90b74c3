import type { Kafka, Message } from 'kafkajs'
import type { Db } from 'mongodb'
import { readLatest, type Checkpoint, type RelayNames } from './checkpoint.ts'
import type { OpenOrderEventsProducer } from '../../kafka.ts'
import type { Logger } from '../../runtime/logger.ts'

/*
 * Releases before 0.2 named their checkpoints and transactional ids by the database alone, and could divide the orders
 * among several relays. Remove this file once nobody upgrades from them.
 */

/** `left` was that release's own mark, `taken` is ours. */
interface EarlierCheckpoint extends Checkpoint { left?: true, taken?: true, handovers?: unknown[] }
interface EarlierLayout { shards: number, changingTo?: number }

/**
 * A relay of such a release that reads this can't start: it takes it for a checkpoint, and MongoDB does not know the
 * token. (With `left` it would look for the copy in MongoDB, and go on with what this release wrote there.)
 */
const TAKEN = { taken: true, token: { _data: 'a later release publishes these orders' } }

/**
 * Takes the checkpoint of an earlier release over, if it is of this MongoDB: then there is a copy of it here.
 * @param adopt commits the checkpoint under its new name together with the end of the old one
 * @returns undefined if there is none
 * @throws Error where several relays have divided the orders: their places are not to be had as one
 */
export async function adoptEarlier ({
  db,
  kafka,
  openProducer,
  topic,
  names,
  until,
  copy,
  adopt,
  log
}: {
  db: Db
  kafka: Kafka
  openProducer: OpenOrderEventsProducer
  topic: string
  names: RelayNames
  log: Logger
  until: number
  copy: Checkpoint | undefined
  adopt: (checkpoint: Checkpoint, left: Message) => Promise<unknown>
}): Promise<Checkpoint | undefined> {
  const key = db.databaseName
  const layoutKey = `${key} layout`
  const earlier = { ...names, checkpointKey: key, transactionalId: `${topic}.relay.${key}` }
  const latest = async (until: number): Promise<EarlierCheckpoint | undefined> => {
    const values = await readLatest(kafka, earlier, until, [key, layoutKey])
    const parse = <T>(name: string): T | undefined => (values.has(name) ? JSON.parse(values.get(name)!) : undefined)
    const [checkpoint, layout] = [parse<EarlierCheckpoint>(key), parse<EarlierLayout>(layoutKey)]
    const isDivided =
      checkpoint?.handovers?.length || (layout !== undefined && (layout.shards > 1 || layout.changingTo !== undefined))
    if (isDivided && (checkpoint === undefined || checkpoint.left || checkpoint.handovers)) {
      throw new Error(
        `the topic ${names.checkpointTopic} says that ${layout?.shards ?? 'several'} relays share the orders of the database ${key}, and this release has one: run the earlier release once more with RELAY_SHARDS=1 until it has published all, then upgrade`
      )
    }
    return checkpoint?.left || checkpoint?.taken ? undefined : checkpoint
  }

  if ((await latest(until)) === undefined || copy === undefined || copy.seq !== undefined) return undefined
  const fence = await openProducer({
    ...earlier,
    partitions: 1,
    marker: { key: `${key} fence`, value: new Date().toISOString() }
  })
  await fence.close()
  const checkpoint = await latest(fence.fencedAt)
  if (checkpoint === undefined) return undefined
  await adopt(checkpoint, { key, value: JSON.stringify({ ...TAKEN, at: new Date().toISOString() }) })
  log.info({ topic, checkpoint: checkpoint.at }, 'the relay goes on where an earlier release was')
  return checkpoint
}
