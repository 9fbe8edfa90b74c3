import { ObjectId, type Collection } from 'mongodb'
import { serializeOrder, toOrder, type OrderDocument } from '../../src/models.ts'

const INSERT_ORDERS = 10_000
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

export interface Seeded {
  ids: string[]
  /** How long the list of them is as JSON. */
  listBytes: number
}

/**
 * Orders as they would be there already, for a database on which no service has run yet: a relay begins behind them.
 * @param ours with the traceparent that this service's orders have and no peer knows
 */
export async function seed (collection: Collection<OrderDocument>, count: number, ours: boolean): Promise<Seeded> {
  const ids: string[] = []
  let listBytes = 1 + count
  for (let first = 0; first < count; first += INSERT_ORDERS) {
    const documents = Array.from({ length: Math.min(INSERT_ORDERS, count - first) }, (_value, index) => orderDocument(first + index))
    for (const document of documents) {
      ids.push(document._id.toHexString())
      listBytes += Buffer.byteLength(serializeOrder(toOrder(document)))
    }
    await collection.insertMany(ours ? documents : documents.map(({ traceparent, ...rest }) => rest as OrderDocument), { ordered: false })
  }
  return { ids, listBytes }
}

function orderDocument (n: number): OrderDocument {
  const now = new Date()
  return {
    _id: new ObjectId(),
    userId: `buyer-${n}`,
    products: [{ _id: `product-${n % 1_000}`, quantity: 1 }, { _id: `product-${n % 77}`, quantity: 2 }],
    createdAt: now,
    updatedAt: now,
    traceparent: TRACEPARENT
  }
}
