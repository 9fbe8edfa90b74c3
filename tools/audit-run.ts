import { parseArgs } from 'node:util'
import type { Kafka } from 'kafkajs'
import type { Collection } from 'mongodb'
import { deadline, within } from '../src/runtime/deadline.ts'
import type { OrderDocument } from '../src/models.ts'
import { withAdmin } from '../src/kafka/admin.ts'
import { isOrderId, msOf } from '../src/encoding/order-id.ts'
import { createPartitionOf } from '../src/events/partition.ts'
import { identifyTopic } from '../src/relay/checkpoint/topic-identity.ts'
import { readRanges, topicRanges, type PartitionRange } from '../src/kafka/topic-reader.ts'
import { createAuditReport, type Kind } from './audit-report.ts'
import { createSlice, type Slice } from './audit-slice.ts'
import { CannotRun } from './cannot-run.ts'
import { SLICE_IDS_MAX } from './id-table.ts'
import { ordersAhead, relayProgress, type RelayProgress } from './relay-progress.ts'
import { openRepair } from './repair.ts'
import { rangeFilter, storedOrders, timeFrom, type Range } from './stored-orders.ts'
import type { Tool, Workshop } from './tool.ts'

/*
 * Holds the topic against MongoDB: each order of this service must be there once, as it is stored, and nothing else.
 * The order of reading is what makes it true: how far the relay is, then the ends of the topic, the records up to
 * there, the orders, and at last what the relay has yet to send. tools/repair.ts explains why no other order will do.
 */

interface AuditOptions extends Range { json: boolean, repair: boolean, graceMs: number }

/**
 * Reading begins so much before `since`: a record's time is that of its sender's clock, an order's that of its maker's.
 */
const CLOCKS_DIFFER_MS = 3_600_000
const COUNT_MS_MAX = 40_000

export const audit: Tool<AuditOptions> = {
  usage: 'npm run audit [-- [--since TIME] [--until TIME] [--grace SECONDS] [--json] [--repair]]',

  parse (args) {
    const { values } = parseArgs({
      args,
      options: {
        since: { type: 'string' },
        until: { type: 'string' },
        grace: { type: 'string', default: '30' },
        json: { type: 'boolean', default: false },
        repair: { type: 'boolean', default: false }
      }
    })
    const { json, repair } = values
    if (!/^\d{1,6}$/.test(values.grace)) throw new Error('--grace must be a number of seconds, 0 or more')
    const [since, until] = [timeFrom('since', values.since), timeFrom('until', values.until)]
    if (since !== undefined && until !== undefined && since >= until) throw new Error('--since must be before --until')
    return { since, until, json, repair, graceMs: Number(values.grace) * 1000 }
  },

  async run (options, workshop) {
    const { kafka, db, collection, settings: { KAFKA_TOPIC: topic }, print } = workshop
    const repair = options.repair ? await openRepair({ kafka, db, collection, topic }) : undefined
    try {
      const now = Date.now()
      const progress = await (repair?.progress() ?? relayProgress(db, topic))
      const ranges = await topicRanges(kafka, topic, options.since && options.since.getTime() - CLOCKS_DIFFER_MS)
      const report = createAuditReport({
        topic,
        database: db.databaseName,
        since: options.since,
        until: options.until,
        at: new Date(now),
        relayAt: progress.reached?.at
      })

      const expected =
        ranges.reduce((sum, { start, high }) => sum + high - start, 0) + (await countOrders(collection, options))
      const slices = Math.max(1, Math.ceil(expected / SLICE_IDS_MAX))
      const retention = createRetention(ranges, await sameTopicSince(kafka, topic, progress), options.graceMs)
      for (let slice = 0; slice < slices; slice++) {
        const part = createSlice({ slice, slices, ids: expected / slices, range: options, report })
        const place = slices === 1 ? '' : `part ${slice + 1} of ${slices}: `
        await readSlice(part, workshop, {
          ranges,
          retention,
          range: options,
          progress,
          place,
          counted: () => {
            if (slice === 0) report.records++
          }
        })
        for (const { id, pending } of part.untold()) {
          const kind = why(id, pending, { now, graceMs: options.graceMs, progress, retention })
          if (kind !== 'missing' || repair === undefined) report.add(kind, id)
          else for (const sent of await repair.send(id)) report.add('repaired', sent)
        }
        for (const sent of await repair?.flush() ?? []) report.add('repaired', sent)
      }
      if (options.json) print(JSON.stringify(report.toJson()))
      else for (const line of report.toLines()) print(line)
      return report.exitCode
    } finally {
      await repair?.close()
    }
  }
}

async function countOrders (collection: Collection<OrderDocument>, range: Range): Promise<number> {
  if (range.since === undefined && range.until === undefined) {
    return await within(COUNT_MS_MAX, "MongoDB's answer", collection.estimatedDocumentCount())
  }
  return await collection.countDocuments({ _id: rangeFilter(range) }, deadline(COUNT_MS_MAX))
}

async function readSlice (
  part: Slice,
  { kafka, db, collection, settings, progress: tell, signal }: Workshop,
  {
    ranges,
    retention,
    range,
    progress,
    place,
    counted
  }: {
    ranges: PartitionRange[]
    retention: Retention
    range: Range
    progress: RelayProgress
    place: string
    counted: () => void
  }
): Promise<void> {
  await readRanges({
    kafka,
    topic: settings.KAFKA_TOPIC,
    ranges,
    signal,
    onRecord: (message, partition) => {
      counted()
      retention.note(partition, String(message.key), Number(message.timestamp))
      part.noteRecord(message, partition)
    },
    onProgress: (read, all) => tell(`${place}topic: ${Math.round((read / all) * 100)} % of ${all} offsets`)
  })
  let orders = 0
  for await (const page of storedOrders(collection, range)) {
    if (signal.aborted) throw new CannotRun('it was asked to end')
    for (const document of page) part.noteStored(document)
    orders += page.length
    tell(`${place}MongoDB: ${orders} documents`)
  }
  if (part.hasUntold) await ordersAhead(db, collection.collectionName, progress.position, part.notePending)
}

/** Why an order has no event. */
function why (
  id: string,
  pending: boolean,
  { now, graceMs, progress, retention }: { now: number, graceMs: number, progress: RelayProgress, retention: Retention }
): Kind {
  if (msOf(id) > now - graceMs) return 'young'
  if (pending || progress.held.oversized.has(id)) return 'pending'
  if (progress.held.unknowable.has(id)) return 'unknowable'
  if (progress.origin !== undefined && msOf(id) < progress.origin.t * 1000) return 'beforeTopic'
  return retention.mayHaveRemoved(id) ? 'unknowable' : 'missing'
}

type Retention = ReturnType<typeof createRetention>

/**
 * What retention may have removed: an order that is older than the oldest record that its partition still has, where
 * the partition no longer begins at 0. After a change of the number of partitions, which shows in records that are
 * elsewhere than they would be sent today, any partition may have been an order's. What was published before `sinceMs`
 * was published to another topic of this name.
 */
function createRetention (ranges: PartitionRange[], sinceMs: number, graceMs: number) {
  const partitionOf = createPartitionOf(ranges.length)
  // Where nothing is left nothing is known; where reading began after the first record, that one is older than all that
  // is looked at.
  const oldest = ranges.map(({ low, start }) => low > 0 && start === low ? Infinity : -Infinity)
  const seen = new Set<number>()
  let moved = false
  return {
    note (partition: number, key: string, ms: number): void {
      if (isOrderId(key)) moved ||= partitionOf(key) !== partition
      if (seen.has(partition)) return
      seen.add(partition)
      if (oldest[partition] === Infinity) oldest[partition] = ms
    },
    mayHaveRemoved (id: string): boolean {
      return msOf(id) <= sinceMs || msOf(id) <= (moved ? Math.max(...oldest) : oldest[partitionOf(id)]!) + graceMs
    }
  }
}

/**
 * @returns the time in ms since 1970 before which an order may have been published to an earlier topic of this name, or
 * another cluster's; 0 if there was none
 */
async function sameTopicSince (kafka: Kafka, topic: string, { reached }: RelayProgress): Promise<number> {
  if (reached?.topic === undefined) return 0
  const { identity } = await withAdmin(kafka, "Kafka's answer about the topic", (admin) =>
    identifyTopic(admin, topic, reached.topic)
  )
  return identity.since === 0 ? 0 : identity.since + CLOCKS_DIFFER_MS
}
