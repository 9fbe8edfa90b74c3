import { MongoClient } from 'mongodb'
import type { OrderDocument } from '../../src/models.ts'
import { createClient } from '../clients/client.ts'
import { readTopic } from './topic.ts'
import type { Operation } from '../clients/operation.ts'
import type { Facts } from './checker.ts'

const CONNECTIONS = 16

/** Everything that can be known at the end, from MongoDB, from the API and from Kafka. */
export async function collectFacts ({
  operations,
  mongoUrl,
  brokers,
  urls
}: {
  operations: Operation[]
  mongoUrl: string
  brokers: string
  urls: string[]
}): Promise<Facts> {
  const stored = await readStored(mongoUrl)
  const ids = new Set(
    operations.flatMap(({ attempts }) =>
      attempts.flatMap((attempt) => (attempt.outcome === 'created' ? [attempt.id] : []))
    )
  )
  const { records, invalid, complete } = await readTopic(brokers, stored.length)
  return {
    operations,
    stored,
    read: await readBack([...ids], urls),
    listed: await readList(urls[0]!),
    records,
    invalid,
    complete
  }
}

async function readStored (mongoUrl: string): Promise<Facts['stored']> {
  const client = new MongoClient(mongoUrl)
  try {
    const documents = await client
      .db()
      .collection<OrderDocument>('orders')
      .find({}, { readConcern: 'majority', readPreference: 'primary' })
      .toArray()
    return documents.map(({ _id, userId, products, idempotency }) => ({
      id: _id.toHexString(),
      n: numberIn(userId),
      userId,
      products,
      key: idempotency?.key
    }))
  } finally {
    await client.close()
  }
}

/** newOrder() puts it there. */
function numberIn (userId: string): number | undefined {
  const digits = /^buyer-(\d+) /.exec(userId)?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** Each order through the next replica. */
async function readBack (ids: string[], urls: string[]): Promise<Facts['read']> {
  const clients = urls.map((url) => createClient(url, CONNECTIONS))
  const read: Facts['read'] = new Map()
  await Promise.all(ids.map(async (id, index) => {
    const { status, body } = await clients[index % clients.length]!.send('GET', `/orders/${id}`)
    read.set(id, status === 200 ? { body } : { missing: `${status} ${body}` })
  }))
  for (const client of clients) client.close()
  return read
}

async function readList (url: string): Promise<string[]> {
  const client = createClient(url, 1)
  const { body } = await client.send('GET', '/orders')
  client.close()
  return JSON.parse(body).map(({ _id }: { _id: string }) => _id)
}
