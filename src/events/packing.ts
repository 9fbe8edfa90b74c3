import type { Message } from 'kafkajs'
import type { EncodedRecord } from '../kafkajs/record-encoding.ts'
import type { OrderRecord } from '../models.ts'
import { createPartitionOf } from './partition.ts'

export type EventRecord = OrderRecord | EncodedRecord

/** What one request brings to one partition, at most. */
export const PARTITION_BYTES_MAX = 900_000
/** Of a topic that says nothing else: Kafka's default of `max.message.bytes`. */
export const MESSAGE_BYTES_MAX = 1_048_588
/**
 * Of the batch that holds a partition's records, https://kafka.apache.org/documentation/#recordbatch, and some more.
 */
const BATCH_OVERHEAD_BYTES = 100
/** Lengths, times and offsets of one of our records, rounded up. */
const FRAME_BYTES = 150

/** Rounded up. */
export function sizeOf (record: EventRecord): number {
  if ('encoded' in record) return record.encoded.length + FRAME_BYTES
  return FRAME_BYTES + record.key.length + Buffer.byteLength(record.value) +
    Object.entries(record.headers).reduce((sum, [name, value]) => sum + name.length + Buffer.byteLength(value), 0)
}

/** @param maxMessageBytes the topic's `max.message.bytes`: the largest batch that a partition takes */
export function createPacker (partitions: number, maxMessageBytes: number) {
  const partitionOf = createPartitionOf(partitions)
  const packBytesMax = Math.min(PARTITION_BYTES_MAX, maxMessageBytes - BATCH_OVERHEAD_BYTES)
  return {
    /** Whether the topic takes a record at all. */
    takes: (record: EventRecord): boolean => sizeOf(record) + BATCH_OVERHEAD_BYTES <= maxMessageBytes,

    /** Messages with their partitions, in rounds that hold no more than a partition takes at once. */
    pack (records: EventRecord[]): Message[][] {
      const rounds: Message[][] = []
      const places = Array.from({ length: partitions }, () => ({ round: 0, bytes: 0 }))
      for (const record of records) {
        const message = { ...record, partition: partitionOf(record.key) }
        const place = places[message.partition]!
        const bytes = sizeOf(record)
        if (place.bytes > 0 && place.bytes + bytes > packBytesMax) {
          place.round++
          place.bytes = 0
        }
        place.bytes += bytes;
        (rounds[place.round] ??= []).push(message)
      }
      return rounds
    }
  }
}
