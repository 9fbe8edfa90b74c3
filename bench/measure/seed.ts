import { ObjectId, type Collection } from 'mongodb'
import { serializeOrder, toOrder, type OrderDocument } from '../../src/models.ts'
import { orderOf } from '../load/order.ts'

const INSERT_ORDERS = 10_000
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

export interface Seeded {
  ids: string[]
  /** How long each is as JSON. */
  sizes: number[]
}

/** How long the list of all of them is. */
export function listBytes ({ sizes }: Seeded): number {
  return sizes.reduce((sum, size) => sum + size, 1 + sizes.length)
}

/**
 * Orders as they would be there already, for a database on which no service has run yet: a relay begins after them.
 * @param ours with the traceparent that this service's orders have and no peer knows
 */
export async function seed (collection: Collection<OrderDocument>, count: number, ours: boolean): Promise<Seeded> {
  const ids: string[] = []
  const sizes: number[] = []
  for (let first = 0; first < count; first += INSERT_ORDERS) {
    const documents = Array.from({ length: Math.min(INSERT_ORDERS, count - first) }, (_value, index) =>
      orderDocument(first + index)
    )
    for (const document of documents) {
      ids.push(document._id.toHexString())
      sizes.push(Buffer.byteLength(serializeOrder(toOrder(document))))
    }
    await collection.insertMany(ours ? documents : documents.map(({ traceparent, ...rest }) => rest as OrderDocument), {
      ordered: false
    })
  }
  return { ids, sizes }
}

function orderDocument (n: number): OrderDocument {
  const now = new Date()
  return { _id: new ObjectId(), ...orderOf(n), createdAt: now, updatedAt: now, traceparent: TRACEPARENT }
}
