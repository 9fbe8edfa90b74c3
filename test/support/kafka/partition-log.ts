import type { RecordBatch } from './wire.ts'

/** Kafka's codes for what it refuses. */
export const KAFKA_ERRORS = {
  NOT_LEADER_FOR_PARTITION: 6,
  MESSAGE_TOO_LARGE: 10,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  INVALID_PRODUCER_EPOCH: 47,
  CONCURRENT_TRANSACTIONS: 51
}

export type RecordState = 'open' | 'committed' | 'aborted'

export interface Appended { code: number, offset: number }

/** How many of a producer's batches a partition remembers, to know one that is sent again. */
const REMEMBERED = 5

/**
 * The log of one partition with what Kafka keeps about its only producer. It takes a record of no open transaction too,
 * as Kafka did before 3.6: such a record hangs until the next marker.
 */
export function createPartitionLog () {
  const records: { key: string, state: RecordState }[] = []
  let epoch = -1
  let next = 0
  let batches: { first: number, count: number, offset: number }[] = []

  return {
    records,

    /** @returns the offset of its first record, or why it is refused */
    append ({ producerEpoch, firstSequence: first, records: added }: RecordBatch): Appended {
      const count = added.length
      if (producerEpoch < epoch) return { code: KAFKA_ERRORS.INVALID_PRODUCER_EPOCH, offset: -1 }
      if (producerEpoch > epoch) begin(producerEpoch)
      const same = batches.find((batch) => batch.first === first && batch.count === count)
      if (same !== undefined) return { code: 0, offset: same.offset }
      if (first !== next) return { code: KAFKA_ERRORS.OUT_OF_ORDER_SEQUENCE_NUMBER, offset: -1 }
      const offset = records.length
      records.push(...added.map(({ key }) => ({ key: String(key), state: 'open' as const })))
      batches = [...batches.slice(1 - REMEMBERED), { first, count, offset }]
      next += count
      return { code: 0, offset }
    },

    /** The marker of a transaction. One of a higher epoch shuts out what was sent before. */
    end (markerEpoch: number, state: RecordState): void {
      if (markerEpoch > epoch) begin(markerEpoch)
      for (const record of records) if (record.state === 'open') record.state = state
    }
  }

  function begin (newEpoch: number): void {
    epoch = newEpoch
    next = 0
    batches = []
  }
}
