import type { Db } from 'mongodb'
import { OrderSchema } from '../schemas/order.ts'
import { bsonToJson } from './bson-json.ts'
import { createCursor, tryTwice, type CursorBatch } from './cursor.ts'
import { within } from './deadline.ts'
import { Overloaded, StoreUnavailable } from './errors.ts'
import { JsonBuffer } from './json-buffer.ts'
import { ANY_OBJECT_ID } from './models.ts'
import { createYoungGarbage } from './young-garbage.ts'

/**
 * Two batches are what lies in memory, some 60 KB each. Larger ones make a list quicker by a third, but the first byte comes later, and
 * with a million orders to be read the requests beside it wait for their walks.
 */
const BATCH_ORDERS = 250
/** What is handed to the socket at once. */
const CHUNK_BYTES = 65_536
const READ_MS_MAX = 30_000
const CLOSE_MS_MAX = 1_000

const writeOrder = bsonToJson(OrderSchema)

/** The first thing that is yielded, and nobody sees: a generator that has not begun would end without its `finally`. */
const NOTHING = Buffer.alloc(0)

export function createOrderLists ({ db, collection, listsMax, shed }: { db: Db, collection: string, listsMax: number, shed: () => void }) {
  let lists = 0
  const filled = createYoungGarbage()
  /**
   * All orders as the text of a JSON array, oldest first, in chunks, with constant memory: the next batch is fetched while the
   * reader takes this one. Ending the iteration closes the cursor.
   * @throws Overloaded, StoreUnavailable before the first chunk; an error after it leaves the array open, so that nobody takes it
   * for whole
   */
  return async function listOrders (prefix = '', suffix = ''): Promise<AsyncGenerator<Buffer>> {
    if (lists >= listsMax) {
      shed()
      throw new Overloaded()
    }
    lists++
    const chunks = read({ db, collection, prefix, suffix, filled, ended: () => { lists-- } })
    await chunks.next()
    return chunks
  }
}

async function * read ({ db, collection, prefix, suffix, filled, ended }: {
  db: Db, collection: string, prefix: string, suffix: string, filled: (bytes: number) => void, ended: () => void
}): AsyncGenerator<Buffer> {
  // The driver's own cursor makes objects for each field of a raw document before it hands its bytes over: 3 KB an order.
  const cursor = createCursor({ db, collection, raw: true, answerMsMax: READ_MS_MAX })
  const find = (): Promise<CursorBatch> => cursor.open({ find: collection, filter: { _id: ANY_OBJECT_ID }, sort: { _id: 1 }, batchSize: BATCH_ORDERS, readConcern: { level: 'majority' } })
  let next: Promise<CursorBatch> | undefined
  const out = new JsonBuffer()
  out.ascii(`${prefix}[`)
  const take = (): Buffer => {
    filled(out.length)
    return out.take()
  }
  try {
    next = tryTwice(find)
    let batch = await next.catch((cause) => { throw new StoreUnavailable({ cause }) })
    yield NOTHING
    let first = true
    for (;;) {
      next = cursor.ended ? undefined : cursor.more(BATCH_ORDERS)
      next?.catch(() => {}) // whoever fetches ahead meets the error when he awaits it, if he does
      for (const bson of batch.documents as unknown as Buffer[]) {
        if (!first) out.byte(0x2c)
        first = false
        writeOrder(bson, out)
        if (out.length >= CHUNK_BYTES) yield take()
      }
      if (out.length > 0) yield take()
      if (next === undefined) break
      batch = await next
    }
    out.ascii(`]${suffix}`)
    yield take()
  } finally {
    // What is asked while MongoDB fetches for this cursor leaves the cursor open. A hung MongoDB answers neither, and the reader is
    // to hear of it.
    await within(CLOSE_MS_MAX, 'MongoDB\'s answer', Promise.allSettled([next]).then(() => cursor.close())).catch(() => {})
    ended()
  }
}
