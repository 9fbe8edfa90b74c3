import { addressesIn, withOrders } from '../rig/parts.ts'
import type { Bench } from './findings.ts'
import { readTopic } from './topic.ts'

/**
 * What was answered, what is stored and what was published must be the same orders, each once.
 * @param created id to body of each 201
 * @returns how many orders are stored: more than the 201s where requests were cut off
 */
export async function verifyOrders (
  { expect, figure }: Bench,
  created: Map<string, string>,
  { mongoUrl, brokers }: ReturnType<typeof addressesIn>
): Promise<{ stored: number }> {
  const stored = new Set(
    await withOrders(mongoUrl, async (orders) =>
      (await orders.find({}, { projection: { _id: 1 } }).toArray()).map(({ _id }) => _id.toHexString())
    )
  )
  const { records, invalid, complete } = await readTopic(brokers, stored.size)

  const told = new Map<string, string>()
  let twice = 0
  for (const { orderId, payload } of records) {
    if (told.has(orderId)) twice++
    told.set(orderId, payload)
  }
  figure(`${stored.size} documents, ${records.length} records`)
  const count = (ids: Iterable<string>, wrong: (id: string) => boolean): number => [...ids].filter(wrong).length
  const none = (number: number, what: string): void => expect(number === 0, `${number} ${what}`)
  none(
    count(created.keys(), (id) => !stored.has(id)),
    'orders with a 201 are not stored'
  )
  none(
    count(stored, (id) => !told.has(id)),
    'stored orders are not on the topic'
  )
  none(
    count(told.keys(), (id) => !stored.has(id)),
    'orders on the topic are not stored'
  )
  none(twice, 'records are on the topic a second time')
  none(
    count(created.keys(), (id) => told.has(id) && told.get(id) !== created.get(id)),
    'payloads are not the body of the 201'
  )
  none(invalid.length, `records are no valid order events (${invalid[0]})`)
  expect(complete, 'the reader did not come to a lasting end of the topic')
  return { stored: stored.size }
}
