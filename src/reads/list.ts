import type { Db } from 'mongodb'
import { OrderSchema } from '../../schemas/order.ts'
import { bsonToJson } from '../encoding/bson-to-json.ts'
import { createCursor, tryTwice, type CursorBatch } from '../mongo/cursor.ts'
import { within } from '../runtime/deadline.ts'
import { Overloaded, StoreUnavailable } from '../errors.ts'
import { JsonBuffer } from '../encoding/json-buffer.ts'
import { ANY_OBJECT_ID } from '../models.ts'
import { createMinorGc } from '../runtime/minor-gc.ts'
import type { Framing } from './framing.ts'

/**
 * Two batches are what lies in memory, some 60 KB each. Larger ones make a list quicker by a third, but the first byte
 * comes later, and with a million orders to read, other requests wait for those walks.
 */
const BATCH_ORDERS = 250
/** What is handed to the socket at once. */
const CHUNK_BYTES = 65_536
/** Twice that, as the first batch is tried twice, is less than the connection of a client that waits may be silent. */
const READ_MS_MAX = 20_000
const CLOSE_MS_MAX = 1_000

const writeOrder = bsonToJson(OrderSchema)

/** The first thing that is yielded, and nobody sees: a generator that has not begun would end without its `finally`. */
const NOTHING = Buffer.alloc(0)

export interface ListsObserver { shed: (reason: 'lists' | 'pages') => void }

export type OrderLists = ReturnType<typeof createOrderLists>

export function createOrderLists ({
  db,
  collection,
  listsMax,
  observe
}: {
  db: Db
  collection: string
  listsMax: number
  observe: ListsObserver
}) {
  let count = 0
  const filled = createMinorGc()

  /**
   * All orders, oldest first, in chunks, with constant memory: the next batch is fetched while the reader takes this
   * one. Ending the iteration closes the cursor.
   * @throws Overloaded, StoreUnavailable before the first chunk; after it an error breaks the answer off, so that
   * nobody takes it for whole
   */
  async function open (framing: Framing): Promise<AsyncGenerator<Buffer>> {
    if (count >= listsMax) {
      observe.shed('lists')
      throw new Overloaded()
    }
    count++
    const chunks = read({
      db,
      collection,
      framing,
      filled,
      ended: () => {
        count--
      }
    })
    await chunks.next()
    return chunks
  }

  return {
    open,
    get count (): number {
      return count
    }
  }
}

async function * read ({ db, collection, framing, filled, ended }: {
  db: Db, collection: string, framing: Framing, filled: (bytes: number) => void, ended: () => void
}): AsyncGenerator<Buffer> {
  // The driver's own cursor makes objects for each field of a raw document before it hands its bytes over: 3 KB an
  // order.
  const cursor = createCursor({ db, collection, raw: true, answerMsMax: READ_MS_MAX })
  const find = (): Promise<CursorBatch> =>
    cursor.open({
      find: collection,
      filter: { _id: ANY_OBJECT_ID },
      sort: { _id: 1 },
      batchSize: BATCH_ORDERS,
      readConcern: { level: 'majority' }
    })
  let next: Promise<CursorBatch> | undefined
  const out = new JsonBuffer()
  out.ascii(framing.open)
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
      next?.catch(() => {}) // prefetched: the error surfaces when the batch is awaited
      for (const bson of batch.documents as unknown as Buffer[]) {
        if (!first) out.ascii(framing.between)
        first = false
        writeOrder(bson, out)
        out.ascii(framing.after)
        if (out.length >= CHUNK_BYTES) yield take()
      }
      if (out.length > 0) yield take()
      if (next === undefined) break
      batch = await next
    }
    out.ascii(framing.close)
    if (out.length > 0) yield take()
  } finally {
    // What is asked while MongoDB fetches for this cursor leaves the cursor open. A hung MongoDB answers neither, and
    // the reader is to hear of it.
    await within(
      CLOSE_MS_MAX,
      "MongoDB's answer",
      Promise.allSettled([next]).then(() => cursor.close())
    ).catch(() => {})
    ended()
  }
}
