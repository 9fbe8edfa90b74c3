import { randomUUID } from 'node:crypto'
import type { Kafka } from 'kafkajs'
import { ORDER_PLACED } from '../schemas/event.ts'
import { within } from './deadline.ts'
import { forgetGroup } from './relay-topics.ts'

const ADMIN_MS_MAX = 20_000
/** An open transaction, of another database's relay on the same topic, holds up readers for its timeout of 30 s. */
const QUIET_MS_MAX = 60_000

/** Where a partition's records begin. */
export interface Retained {
  /** The oldest record that is still there. */
  low: number
  /** The first record that is as young as was asked for; behind the end if all are older. */
  from: number
  /** Behind the last record. */
  high: number
}

/** For each partition where its records begin, and where those from `fromMs` on do. */
export async function retainedRecords (kafka: Kafka, topic: string, fromMs: number): Promise<Retained[]> {
  const admin = kafka.admin()
  const ask = async () => {
    await admin.connect()
    const partitions: Retained[] = []
    const froms = new Map((await admin.fetchTopicOffsetsByTimestamp(topic, Math.max(0, fromMs))).map(({ partition, offset }) => [partition, Number(offset)]))
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
      partitions[partition] = { low: Number(low), high: Number(high), from: Math.max(Number(low), froms.get(partition) ?? 0) }
    }
    return partitions
  }
  try {
    return await within(ADMIN_MS_MAX, 'Kafka\'s answer about its records', ask())
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/**
 * Reads every committed record that was published at `fromMs` or later, up to what is the end when it is called, and hands over
 * the id of each order that was told.
 */
export async function readPublishedIds ({ kafka, topic, fromMs, onId, signal }: {
  kafka: Kafka, topic: string, fromMs: number, onId: (id: string) => void, signal: AbortSignal
}): Promise<void> {
  const ranges = await retainedRecords(kafka, topic, fromMs)
  const open = new Set(ranges.flatMap(({ from, high }, partition) => from < high ? [partition] : []))
  if (open.size === 0) return
  const groupId = `${topic}.reconciliation.${randomUUID()}`
  const consumer = kafka.consumer({ groupId, readUncommitted: false, allowAutoTopicCreation: false, maxWaitTimeInMs: 100 })
  try {
    await within(ADMIN_MS_MAX, 'Kafka\'s answer', consumer.connect().then(() => consumer.subscribe({ topic, fromBeginning: true })))
    await new Promise<void>((resolve, reject) => {
      const quiet = setTimeout(() => end(() => reject(new Error(`no record of the topic ${topic} came for ${QUIET_MS_MAX} ms`))), QUIET_MS_MAX)
      const stop = (): void => end(() => reject(new Error('the relay stops')))
      const end = (settle: () => void): void => {
        clearTimeout(quiet)
        signal.removeEventListener('abort', stop)
        settle()
      }
      if (signal.aborted) return stop()
      signal.addEventListener('abort', stop, { once: true })
      consumer.on(consumer.events.CRASH, ({ payload }) => end(() => reject(payload.error)))
      // Told for batches of mere transaction markers too, which a handler never sees: the end of a partition is one.
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
        quiet.refresh()
        if (Number(lastOffset) + 1 >= ranges[partition]!.high) open.delete(partition)
        if (open.size === 0) end(resolve)
      })
      consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          for (const { key, headers } of batch.messages) {
            if (key !== null && String(headers?.ce_type ?? ORDER_PLACED) === ORDER_PLACED) onId(String(key))
          }
        }
      }).catch((error) => end(() => reject(error)))
      ranges.forEach(({ from }, partition) => consumer.seek({ topic, partition, offset: String(from) }))
    })
  } finally {
    await within(ADMIN_MS_MAX, 'the end of the reader', consumer.disconnect()).catch(() => {})
    forgetGroup(kafka, groupId)
  }
}
