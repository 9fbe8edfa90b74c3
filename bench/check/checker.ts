import type { Attempt, Operation } from '../clients/operation.ts'

/*
 * What must be true at the end, whatever died when. Pure functions over facts, so that a test can feed them each kind
 * of lie.
 */

export interface StoredOrder {
  id: string
  n: number | undefined
  userId: string
  products: unknown
  key?: string | undefined
}

export interface Facts {
  operations: Operation[]
  /** What a majority of MongoDB holds. */
  stored: StoredOrder[]
  /** What was read back of each id that a 201 named; the body, or in words why there is none. */
  read: Map<string, { body: string } | { missing: string }>
  /** Ids of `GET /`. */
  listed: string[]
  /** Committed records of the topic: the order's id, and its payload as JSON. */
  records: { orderId: string, payload: string }[]
  /** Why each record that is no valid event isn't one. */
  invalid: string[]
  /** The topic was read to its end. */
  complete: boolean
}

export type Violation =
  | 'lost'
  | 'wrong-body'
  | 'phantom-order'
  | 'two-orders'
  | 'stored-though-refused'
  | 'key-refused'
  | 'missing-event'
  | 'duplicate-event'
  | 'phantom-event'
  | 'wrong-event'
  | 'invalid-event'
  | 'wrong-list'
  | 'not-recovered'
  | 'unknown'

export interface Finding { violation: Violation, what: string }

export function check (facts: Facts): Finding[] {
  return [...checkAcknowledged(facts), ...checkStored(facts), ...checkRecords(facts), ...checkList(facts)]
}

type Created = Extract<Attempt, { outcome: 'created' }>

function createdBy ({ attempts }: Operation): Created[] {
  return attempts.filter((attempt) => attempt.outcome === 'created')
}

/** Every 201 is stored, readable and equal to the byte; it holds what was sent; and one operation made one order. */
function * checkAcknowledged ({ operations, stored, read }: Facts): Generator<Finding> {
  const documents = new Map(stored.map((order) => [order.id, order]))
  const owners = new Map<string, number>()
  for (const operation of operations) {
    const { n, key } = operation
    const ids = new Set(createdBy(operation).map(({ id }) => id))
    if (ids.size > 1) yield { violation: 'two-orders', what: `operation ${n}${key === undefined ? '' : ` with key ${key}`} was answered with ${[...ids].join(' and ')}` }
    for (const { id, body } of createdBy(operation)) {
      const owner = owners.get(id)
      if (owner !== undefined && owner !== n) yield { violation: 'two-orders', what: `operations ${owner} and ${n} were both answered with ${id}` }
      owners.set(id, n)
      const found = read.get(id)
      if (!documents.has(id)) yield { violation: 'lost', what: `${id} of operation ${n} had a 201 and is not stored` }
      if (found === undefined || 'missing' in found) yield { violation: 'lost', what: `${id} of operation ${n} had a 201 and can't be read: ${found?.missing ?? 'not tried'}` }
      else if (found.body !== body) yield { violation: 'wrong-body', what: `${id} of operation ${n} is read as ${found.body}, answered was ${body}` }
      if (!says(body, id, operation)) yield { violation: 'wrong-body', what: `operation ${n} was answered with ${body}` }
    }
    for (const attempt of operation.attempts) {
      if (attempt.outcome === 'refused' && attempt.status === 422) yield { violation: 'key-refused', what: `operation ${n} sent the same order with its key again: ${attempt.code}` }
    }
  }
}

function says (body: string, id: string, { userId, products }: Operation): boolean {
  const order = JSON.parse(body)
  return order._id === id && order.userId === userId && JSON.stringify(order.products) === JSON.stringify(products)
}

/**
 * What is stored was sent, once for each operation and so for each key, and by none that was answered that nothing was
 * stored.
 */
function * checkStored ({ operations, stored }: Facts): Generator<Finding> {
  const byNumber = new Map(operations.map((operation) => [operation.n, operation]))
  const seen = new Map<number, string>()
  const keys = new Map<string, string>()
  for (const order of stored) {
    const operation = order.n === undefined ? undefined : byNumber.get(order.n)
    if (operation === undefined) {
      yield { violation: 'phantom-order', what: `${order.id} is stored and nobody sent it` }
      continue
    }
    const { n, attempts } = operation
    const isSame = order.userId === operation.userId && order.key === operation.key
    if (!isSame || JSON.stringify(order.products) !== JSON.stringify(operation.products)) {
      yield { violation: 'wrong-body', what: `${order.id} is stored otherwise than operation ${n} sent it` }
    }
    const other = seen.get(n) ?? (order.key === undefined ? undefined : keys.get(order.key))
    if (other !== undefined) yield { violation: 'two-orders', what: `operation ${n}${order.key === undefined ? '' : ` with key ${order.key}`} is stored as ${other} and ${order.id}` }
    seen.set(n, order.id)
    if (order.key !== undefined) keys.set(order.key, order.id)
    if (attempts.length > 0 && attempts.every(({ outcome }) => outcome === 'refused')) {
      yield { violation: 'stored-though-refused', what: `${order.id} of operation ${n} is stored, but was answered ${attempts.map((attempt) => 'code' in attempt ? attempt.code : '').join(', ')}` }
    }
  }
}

/** One committed record for each stored order, with what was answered, and no others. */
function * checkRecords ({ operations, stored, records, invalid, complete }: Facts): Generator<Finding> {
  const documents = new Set(stored.map(({ id }) => id))
  const bodies = new Map(operations.flatMap(createdBy).map(({ id, body }) => [id, body]))
  const told = new Set<string>()
  for (const { orderId, payload } of records) {
    if (!documents.has(orderId)) yield { violation: 'phantom-event', what: `${orderId} is on the topic and not stored` }
    if (told.has(orderId)) yield { violation: 'duplicate-event', what: `${orderId} is on the topic again` }
    told.add(orderId)
    const body = bodies.get(orderId)
    if (body !== undefined && body !== payload) yield { violation: 'wrong-event', what: `${orderId} is on the topic as ${payload}, answered was ${body}` }
  }
  for (const id of documents) if (!told.has(id)) yield { violation: 'missing-event', what: `${id} is stored and not on the topic` }
  for (const reason of invalid) yield { violation: 'invalid-event', what: `a record is no order event: ${reason}` }
  if (!complete) yield { violation: 'unknown', what: 'the topic could not be read to its end' }
}

function * checkList ({ stored, listed }: Facts): Generator<Finding> {
  const ids = new Set(listed)
  if (ids.size !== listed.length) yield { violation: 'wrong-list', what: `the list has ${listed.length - ids.size} orders twice` }
  const missing = stored.filter(({ id }) => !ids.has(id))
  if (missing.length > 0) yield { violation: 'wrong-list', what: `${missing.length} orders are not in the list, as ${missing[0]!.id}` }
  if (ids.size > stored.length - missing.length) yield { violation: 'wrong-list', what: 'the list has orders that are not stored' }
}

/** How many of each kind. */
export function countViolations (findings: Finding[]): Map<Violation, number> {
  const counts = new Map<Violation, number>()
  for (const { violation } of findings) counts.set(violation, (counts.get(violation) ?? 0) + 1)
  return counts
}
