import { createHash } from 'node:crypto'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import build from 'fast-json-stringify'
import { Binary, ObjectId, type Document } from 'mongodb'
import { OrderEventSchema, ORDER_PLACED, type OrderEvent, type OrderEventHeaders } from '../schemas/event.ts'
import { OrderSchema, type NewOrder, type Order } from '../schemas/order.ts'
import { isTraceparent } from './traceparent.ts'

/**
 * An order as MongoDB holds it. The fields that go over the wire stand in the wire's order. `traceparent` never leaves
 * over HTTP; as only this service writes it, it also tells our orders from those of an older one.
 */
export interface OrderDocument {
  _id: ObjectId
  userId: string
  products: { _id: string, quantity: number }[]
  createdAt: Date
  updatedAt: Date
  traceparent: string
  /** Only in orders that came with an Idempotency-Key; never on the wire. */
  idempotency?: Claim
}

/** Makes an Idempotency-Key unique among the orders of a user. It is partial: orders without a key cost it nothing. */
export const IDEMPOTENCY_INDEX = {
  key: { userId: 1, 'idempotency.key': 1 } as const,
  options: { name: 'idempotency', unique: true, partialFilterExpression: { 'idempotency.key': { $exists: true } } }
}

/**
 * What pages are filtered by has an index, which every insert pays for, so each is a choice (ORDER_INDEXES). It is used
 * by its name, as another one of the same fields may be partial.
 */
export const FILTER_INDEXES = {
  userId: { key: { userId: 1, _id: 1 }, name: 'page_user' },
  productId: { key: { 'products._id': 1, _id: 1 }, name: 'page_product' }
} as const
export type OrderFilter = keyof typeof FILTER_INDEXES

/** Selects, in a query or a change stream, the orders that this service wrote. */
export function writtenByUs (prefix = ''): Document {
  return { [`${prefix}traceparent`]: { $type: 'string' } }
}

const checkOrder = TypeCompiler.Compile(OrderSchema)

/** Whether it makes an event that every subscriber can read: what somebody put there by hand may be anything. */
export function isOrderDocument (document: Document): document is OrderDocument {
  return orderOf(document) !== undefined
}

function orderOf (document: Document): Order | undefined {
  if (!(
    document._id instanceof ObjectId &&
    isTime(document.createdAt) &&
    isTime(document.updatedAt) &&
    isTraceparent(document.traceparent)
  )) { return undefined }
  const order = toOrder(document as OrderDocument)
  return checkOrder.Check(order) ? order : undefined
}

function isTime (value: unknown): boolean {
  return value instanceof Date && !Number.isNaN(value.getTime())
}

export function toDocument (order: NewOrder, traceparent: string, idempotencyKey?: string): OrderDocument {
  const now = new Date()
  const document = {
    // Of this second, so that a time finds its range of ids also when the process stood still just here.
    _id: new ObjectId(ObjectId.generate(Math.floor(now.getTime() / 1000))),
    userId: order.userId,
    products: order.products,
    createdAt: now,
    updatedAt: now,
    traceparent
  }
  return idempotencyKey === undefined ? document : { ...document, idempotency: claimOf(idempotencyKey, order) }
}

export interface Claim {
  key: string
  /**
   * Bodies that mean the same order have the same one: once validated they differ only in the order of their fields.
   */
  fingerprint: Binary
}

function claimOf (key: string, { userId, products }: NewOrder): Claim {
  const canonical = JSON.stringify([userId, products.map(({ _id, quantity }) => [_id, quantity])])
  return { key, fingerprint: new Binary(createHash('sha256').update(canonical).digest()) }
}

export function toOrder ({ _id, userId, products, createdAt, updatedAt }: OrderDocument): Order {
  const created = createdAt.toISOString()
  // Making the text takes longer than all the rest, and only a fix by hand makes the two differ.
  const updated = updatedAt.getTime() === createdAt.getTime() ? created : updatedAt.toISOString()
  return { _id: _id.toHexString(), userId, products, createdAt: created, updatedAt: updated }
}

export const serializeOrder: (order: Order) => string = build(OrderSchema)
const serializeEvent: (event: OrderEvent) => string = build(OrderEventSchema)

/** A record for `order-events`, without its partition. */
export interface OrderRecord {
  key: string
  value: string
  headers: OrderEventHeaders
}

export function toRecord (document: OrderDocument): OrderRecord {
  return recordOf(toOrder(document), document.traceparent)
}

/** @returns undefined if `isOrderDocument` says no */
export function toRecordIfOrder (document: Document): OrderRecord | undefined {
  const order = orderOf(document)
  return order === undefined ? undefined : recordOf(order, document.traceparent)
}

function recordOf (order: Order, traceparent: string): OrderRecord {
  return {
    key: order._id,
    value: serializeEvent({
      type: ORDER_PLACED,
      eventType: ORDER_PLACED,
      userId: order.userId,
      orderId: order._id,
      products: order.products,
      payload: order
    }),
    headers: {
      ce_specversion: '1.0',
      ce_id: order._id,
      ce_type: ORDER_PLACED,
      ce_source: '/orders',
      ce_subject: order._id,
      ce_time: order.createdAt,
      'content-type': 'application/json',
      traceparent
    }
  }
}

/**
 * The bounds of all ObjectIds: a range over them leaves out what an older service stored under another kind of `_id`.
 */
export const ANY_OBJECT_ID = { $gte: new ObjectId('0'.repeat(24)), $lte: new ObjectId('f'.repeat(24)) }
