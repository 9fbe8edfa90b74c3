import { ObjectId } from 'mongodb'
import type { Message } from 'kafkajs'
import type { OrderEvent, OrderEventHeaders } from '../../schemas/event.ts'
import { TRACEPARENT } from './relays.ts'

const TIME = '2026-11-27T08:00:00.000Z'

/** Records as the relay makes them, of orders that nobody stored. */
export function eventRecords (count: number, { userId = 'user-1', partition }: { userId?: string, partition?: number } = {}): Message[] {
  return Array.from({ length: count }, () => {
    const orderId = new ObjectId().toHexString()
    const products = [{ _id: 'product-1', quantity: 1 }]
    const event: OrderEvent = {
      type: 'order-placed',
      eventType: 'order-placed',
      userId,
      orderId,
      products,
      payload: { _id: orderId, userId, products, createdAt: TIME, updatedAt: TIME }
    }
    return {
      key: orderId,
      value: JSON.stringify(event),
      headers: headersOf(orderId),
      ...(partition === undefined ? {} : { partition })
    }
  })
}

export function headersOf (orderId: string): OrderEventHeaders {
  return {
    ce_specversion: '1.0',
    ce_id: orderId,
    ce_type: 'order-placed',
    ce_source: '/orders',
    ce_subject: 'user-1',
    ce_time: TIME,
    'content-type': 'application/json',
    traceparent: TRACEPARENT
  }
}
