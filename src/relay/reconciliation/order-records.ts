import { ObjectId, type Collection } from 'mongodb'
import { deadline } from '../../runtime/deadline.ts'
import { toRecordIfOrder, type OrderDocument, type OrderRecord } from '../../models.ts'

const ANSWER_MS_MAX = 40_000
/** What is in memory at a time: an event has 0.5 MB at most, if its order came over HTTP. */
const LOAD_ORDERS = 200

/** Records of stored orders, by ascending id. What was deleted, or is no order, has none. */
export async function * recordsOfOrders (
  collection: Collection<OrderDocument>,
  ids: string[]
): AsyncGenerator<OrderRecord[]> {
  for (let start = 0; start < ids.length; start += LOAD_ORDERS) {
    const _id = { $in: ids.slice(start, start + LOAD_ORDERS).map((id) => new ObjectId(id)) }
    const options = {
      sort: { _id: 1 as const },
      readConcern: 'majority' as const,
      readPreference: 'primary' as const,
      ...deadline(ANSWER_MS_MAX)
    }
    yield (await collection.find({ _id }, options).toArray()).flatMap((order) => toRecordIfOrder(order) ?? [])
  }
}
