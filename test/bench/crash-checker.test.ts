import t from 'tap'
import { check, type Facts, type Violation } from '../../bench/check/checker.ts'
import type { Attempt, Operation } from '../../bench/clients/operation.ts'
import { FAULTS } from '../../bench/crash/faults.ts'
import { createRandom } from '../../bench/clients/random.ts'

const PRODUCTS = [{ _id: 'product-1', quantity: 2 }]

function created (id: string, n: number): Attempt & { outcome: 'created' } {
  const order = {
    _id: id,
    userId: `buyer-${n}`,
    products: PRODUCTS,
    createdAt: '2026-01-01T00:00:00.000Z',
    updatedAt: '2026-01-01T00:00:00.000Z'
  }
  return { outcome: 'created', id, body: JSON.stringify(order) }
}

const maybe: Attempt = { outcome: 'maybe', status: 0, code: 'socket hang up' }

function operation (n: number, attempts: Attempt[], key?: string): Operation {
  return { n, userId: `buyer-${n}`, products: PRODUCTS, key, attempts }
}

/**
 * Nothing is wrong with it: an order, one with a key that was sent twice, one of unknown outcome that is stored, and
 * one that isn't.
 */
function truth (): Facts {
  const operations = [
    operation(0, [created('a', 0)]),
    operation(1, [maybe, created('b', 1), created('b', 1)], 'key-1'),
    operation(2, [maybe]),
    operation(3, [maybe]),
    operation(4, [{ outcome: 'refused', status: 503, code: 'NOT_STORED' }])
  ]
  const orders = new Map([['a', 0], ['b', 1], ['c', 2]])
  return {
    operations,
    stored: [...orders].map(([id, n]) => ({
      id,
      n,
      userId: `buyer-${n}`,
      products: PRODUCTS,
      key: operations[n]!.key
    })),
    read: new Map(['a', 'b'].map((id) => [id, { body: created(id, orders.get(id)!).body }])),
    listed: ['a', 'b', 'c'],
    records: [...orders].map(([orderId, n]) => ({ orderId, payload: created(orderId, n).body })),
    invalid: [],
    complete: true
  }
}

t.strictSame(check(truth()), [], 'the truth')

const lies: { title: string, tell: (facts: Facts) => void, violations: Violation[] }[] = [
  {
    title: 'an order with a 201 is not stored',
    tell (facts) {
      facts.stored.shift()
      facts.listed.shift()
      facts.records.shift()
    },
    violations: ['lost']
  },
  {
    title: "an order with a 201 can't be read",
    tell: ({ read }) => read.set('a', { missing: '404' }),
    violations: ['lost']
  },
  { title: 'an order with a 201 was not read', tell: ({ read }) => read.delete('b'), violations: ['lost'] },
  {
    title: 'an order is read otherwise',
    tell: ({ read }) => read.set('a', { body: created('a', 0).body.replace('"quantity":2', '"quantity":3') }),
    violations: ['wrong-body']
  },
  {
    title: 'an order is answered otherwise than it was sent',
    tell: ({ operations }) => {
      operations[0]!.products = []
    },
    violations: ['wrong-body', 'wrong-body']
  },
  {
    title: 'an order is stored otherwise',
    tell: ({ stored }) => {
      stored[2]!.products = [{ _id: 'product-1', quantity: 3 }]
    },
    violations: ['wrong-body']
  },
  {
    title: 'an order is stored with a key that nobody sent',
    tell: ({ stored }) => {
      stored[0]!.key = 'key-9'
    },
    violations: ['wrong-body']
  },
  {
    title: 'two orders for one key',
    tell ({ stored, listed, records }) {
      stored.push({ ...stored[1]!, id: 'd' })
      listed.push('d')
      records.push({ orderId: 'd', payload: created('d', 1).body })
    },
    violations: ['two-orders']
  },
  {
    title: 'two answers for one key',
    tell (facts) {
      facts.operations[1]!.attempts.push(created('d', 1))
      facts.read.set('d', { body: created('d', 1).body })
    },
    violations: ['two-orders', 'lost']
  },
  {
    title: 'two orders for one request without a key',
    tell ({ stored, listed, records }) {
      stored.push({ ...stored[2]!, id: 'd' })
      listed.push('d')
      records.push({ orderId: 'd', payload: created('d', 2).body })
    },
    violations: ['two-orders']
  },
  {
    title: 'two requests with one order',
    tell: ({ operations }) => {
      operations[3]!.attempts = [created('a', 3)]
    },
    violations: ['two-orders', 'wrong-body', 'wrong-event']
  },
  {
    title: 'the same order with its key is refused',
    tell: ({ operations }) => {
      operations[1]!.attempts.push({ outcome: 'refused', status: 422, code: 'IDEMPOTENCY_KEY_REUSED' })
    },
    violations: ['key-refused']
  },
  {
    title: 'an order that nobody sent',
    tell ({ stored, listed, records }) {
      stored.push({ id: 'd', n: undefined, userId: 'nobody', products: PRODUCTS })
      listed.push('d')
      records.push({ orderId: 'd', payload: created('d', 9).body })
    },
    violations: ['phantom-order']
  },
  {
    title: 'an order is stored that was refused',
    tell: ({ operations }) => {
      operations[2]!.attempts = [{ outcome: 'refused', status: 503, code: 'NOT_STORED' }]
    },
    violations: ['stored-though-refused']
  },
  { title: 'an event is missing', tell: ({ records }) => records.pop(), violations: ['missing-event'] },
  { title: 'an event came twice', tell: ({ records }) => records.push(records[0]!), violations: ['duplicate-event'] },
  {
    title: 'an event without its order',
    tell: ({ records }) => records.push({ orderId: 'd', payload: '{}' }),
    violations: ['phantom-event']
  },
  {
    title: 'an event says otherwise',
    tell: ({ records }) => {
      records[0]!.payload = created('a', 1).body
    },
    violations: ['wrong-event']
  },
  {
    title: 'a record is no event',
    tell: ({ invalid }) => invalid.push('its value is not JSON'),
    violations: ['invalid-event']
  },
  {
    title: 'the topic was not read to its end',
    tell: (facts) => {
      facts.complete = false
    },
    violations: ['unknown']
  },
  { title: 'the list leaves an order out', tell: ({ listed }) => listed.pop(), violations: ['wrong-list'] },
  { title: 'the list has an order twice', tell: ({ listed }) => listed.push('a'), violations: ['wrong-list'] },
  { title: 'the list has an order too many', tell: ({ listed }) => listed.push('d'), violations: ['wrong-list'] }
]

for (const { title, tell, violations } of lies) {
  const facts = truth()
  tell(facts)
  t.strictSame(
    [...new Set(check(facts).map(({ violation }) => violation))].sort(),
    [...new Set(violations)].sort(),
    title
  )
}

t.test('the same seed makes the same campaign, another one another', async (t) => {
  const campaign = (seed: number): unknown[] => {
    const random = createRandom(seed)
    return [
      random.shuffled(FAULTS.map(({ name }) => name)),
      random.below(100),
      random.chance(0.5),
      random.pick(['a', 'b', 'c'])
    ]
  }
  t.strictSame(campaign(7), campaign(7))
  t.notSame(campaign(7), campaign(8))
  t.strictSame((campaign(7)[0] as string[]).sort(), FAULTS.map(({ name }) => name).sort(), 'each fault once')
})
