import type { Message } from 'kafkajs'
import { randomUUID } from 'node:crypto'
import type { Collection } from 'mongodb'
import { layoutName } from './lease.ts'
import { layoutNames, type RelayNames } from './relay-topics.ts'
import { checkpointIn, type RelayRecords } from './relay-records.ts'

/*
 * How many shards publish a database's orders to a topic. A record on the topic of the checkpoints says so, which only the holder
 * of one transactional.id writes; where there is none, one relay publishes all. src/layout-change.ts changes it.
 */

export interface Layout {
  shards: number
  /** One more with each record. */
  generation: number
  /** Nobody may publish: the shards are just being taken over. */
  changingTo?: number
  /** There was never another one, so where there is no checkpoint nothing was published. */
  first?: true
}

const FIRST: Layout = { shards: 1, generation: 0, first: true }

export interface LayoutDocument extends Layout { _id: string }

export function layoutMessage (names: RelayNames, layout: Layout): Message {
  return { key: names.checkpointKey, value: JSON.stringify(layout) }
}

export function layoutIn (records: RelayRecords, topic: string, { database }: RelayNames): Layout | undefined {
  const value = records.get(layoutNames(topic, database).checkpointKey)?.value
  return typeof value === 'string' ? JSON.parse(value) : undefined
}

/**
 * "Whoever reads this behind the last checkpoint of the shard must look at the layout before publishing." Written with the shard's
 * transactional.id, so it also fences; under a key of its own, so compaction keeps it.
 */
export function sealMessage ({ checkpointKey }: RelayNames): Message {
  return { key: sealKey(checkpointKey), value: randomUUID() }
}

/** Takes the place of a checkpoint. A relay from before there were shards passes over a tombstone and goes on from an older record; with this it can't start. */
export function leftMessage ({ checkpointKey, database }: RelayNames): Message {
  const value = checkpointKey === database ? JSON.stringify({ left: true, token: { _data: 'the relay has shards now' }, at: new Date().toISOString() }) : null
  return { key: checkpointKey, value }
}

/** Whether the last checkpoint of a shard proves by itself that the layout is the shard's: there is one, and no seal behind it. */
export function isLive (records: RelayRecords, names: RelayNames): boolean {
  if (checkpointIn(records, names) === undefined) return false
  return (records.get(sealKey(names.checkpointKey))?.offset ?? -1) < records.get(names.checkpointKey)!.offset
}

function sealKey (checkpointKey: string): string {
  return `${checkpointKey} sealed`
}

/** What the topic says; if it was lost, a copy of it in MongoDB. */
export async function layoutOr (found: Layout | undefined, collection: Collection<LayoutDocument>, topic: string): Promise<Layout> {
  return found ?? await collection.findOne({ _id: layoutName(topic) }, { projection: { _id: 0 } }) ?? FIRST
}

/** Keeps the copy. One of an earlier generation that comes late changes nothing. */
export async function copyLayout (collection: Collection<LayoutDocument>, topic: string, { shards, generation }: Layout): Promise<void> {
  const isNewer = { $gt: [generation, { $ifNull: ['$generation', -1] }] }
  await collection.updateOne(
    { _id: layoutName(topic) },
    [{ $set: { shards: { $cond: [isNewer, shards, '$shards'] }, generation: { $max: ['$generation', generation] } } }],
    { upsert: true, writeConcern: { w: 'majority' } })
}
