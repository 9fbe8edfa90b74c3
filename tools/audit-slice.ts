import { createHash } from 'node:crypto'
import type { KafkaMessage } from 'kafkajs'
import type { Document } from 'mongodb'
import { receive } from '../src/events/received-event.ts'
import { isOrderId } from '../src/encoding/order-id.ts'
import { isOrderDocument, serializeOrder, toOrder } from '../src/models.ts'
import type { Order } from '../schemas/order.ts'
import {
  createIdTable,
  DIFFERS,
  INVALID,
  LEGACY,
  PENDING,
  REPLAYED,
  sliceOf,
  STORED,
  PUBLISHED,
  PUBLISHED_TWICE
} from './id-table.ts'
import type { AuditReport } from './audit-report.ts'
import { inRange, type Range } from './stored-orders.ts'

/*
 * One slice of the orders: first all records, then all orders are noted in a table of their ids; what the table then
 * says of an id is what the audit finds.
 */

export interface SliceOptions {
  slice: number
  slices: number
  /** How many ids the slice may have. */
  ids: number
  range: Range
  report: AuditReport
}

export type Slice = ReturnType<typeof createSlice>

export function createSlice ({ slice, slices, ids, range, report }: SliceOptions) {
  const table = createIdTable(ids)
  const isMine = (id: string): boolean => inRange(id, range) && sliceOf(id, slices) === slice
  let untold = 0

  return {
    noteRecord (message: KafkaMessage, partition: number): void {
      const received = receive(message, partition)
      if (typeof received === 'string') {
        return noteInvalid(message, `partition ${partition} offset ${message.offset}: ${received}`)
      }
      const { event, headers } = received
      const id = event.orderId
      if (!isMine(id)) return
      if (
        event.userId !== event.payload.userId ||
        JSON.stringify(event.products) !== JSON.stringify(event.payload.products)
      ) {
        return noteInvalid(message, `${id}: its userId or products differ from those of its payload`)
      }
      const before = table.add(id, headers.replay === undefined ? PUBLISHED : REPLAYED)
      if (headers.replay !== undefined) report.replayed++
      else if (before & PUBLISHED) table.add(id, PUBLISHED_TWICE)
      if (!table.sameDigest(id, digestOf(event.payload))) table.add(id, DIFFERS)
    },

    noteStored (document: Document): void {
      const id = document._id.toHexString()
      if (!isMine(id)) return
      if (!isOrderDocument(document)) {
        report.legacy++
        return table.addIfKnown(id, LEGACY)
      }
      report.orders++
      const before = table.add(id, STORED)
      if (before & (PUBLISHED | REPLAYED)) {
        if (!table.sameDigest(id, digestOf(toOrder(document)))) table.add(id, DIFFERS)
      } else if (!(before & INVALID)) untold++
    },

    /** The relay has yet to come to it. */
    notePending (id: string): void {
      if (isOrderId(id)) table.addIfKnown(id, PENDING)
    },

    get hasUntold (): boolean { return untold > 0 },

    /** Reports all that is wrong, and yields the orders without any record. */
    * untold (): Generator<{ id: string, pending: boolean }> {
      for (const { id, bits } of table.entries()) {
        const published = bits & (PUBLISHED | REPLAYED)
        if (bits & PUBLISHED_TWICE) report.add('duplicate', id)
        if (published && !(bits & (STORED | LEGACY))) report.add('unknown', id)
        if (published && bits & LEGACY) {
          report.add('invalid', `${id}: what is stored under this id is not an order of this service`)
        } else if (bits & DIFFERS) {
          report.add(
            'invalid',
            `${id}: its payload differs from ${bits & STORED && !(bits & PUBLISHED_TWICE) ? 'the stored order' : 'another record or the stored order'}`
          )
        }
        if (bits & STORED && !published && !(bits & INVALID)) yield { id, pending: (bits & PENDING) !== 0 }
      }
    }
  }

  /**
   * An order that an invalid record names is not missing: to send its event would be a second one for subscribers that
   * could read the first.
   */
  function noteInvalid (message: KafkaMessage, reason: string): void {
    const named = [message.key, message.headers?.ce_id].map(String).filter(isOrderId)
    for (const id of new Set(named)) if (isMine(id)) table.add(id, INVALID)
    // Without an id it belongs to no slice and no time.
    if (named[0] === undefined ? slice === 0 : isMine(named[0])) report.add('invalid', reason)
  }
}

/** Enough of a hash to find what differs by mistake. */
function digestOf (order: Order): Buffer {
  return createHash('sha256').update(serializeOrder(order)).digest()
}
