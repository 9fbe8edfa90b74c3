import { MongoServerError, type Db } from 'mongodb'
import { OrderSchema } from '../../schemas/order.ts'
import { IndexMissing, Overloaded, StoreUnavailable } from '../errors.ts'
import { idOf } from '../encoding/bson.ts'
import { bsonToJson } from '../encoding/bson-to-json.ts'
import { JsonBuffer } from '../encoding/json-buffer.ts'
import { createCursor, tryTwice } from '../mongo/cursor.ts'
import { createBatcher } from '../runtime/batcher.ts'
import { deadline } from '../runtime/deadline.ts'
import type { Framing } from './framing.ts'
import type { ListsObserver } from './list.ts'
import { commandOf, filterOf, type PageQuery } from './page-query.ts'

const READ_MS_MAX = 5_000
/** Read at the same time. Each may be as large as an answer of MongoDB, which is 16 MB. */
const IN_FLIGHT_MAX = 16
const WAITING_MAX = 1_000
/** Of pages that are being sent. A usual one has 25 KB and is sent at once. */
const HELD_BYTES_MAX = 64 * 1024 * 1024
const AT_ONCE_BYTES = 65_536
/** `hint` names an index that isn't there. */
const BAD_VALUE = 2

const writeOrder = bsonToJson(OrderSchema)

export interface Page {
  body: Buffer | AsyncGenerator<Buffer>
  /** The id of its last order, if another page follows. */
  last: string | undefined
}

interface Found { orders: Buffer[], last: string | undefined }

export type OrderPages = ReturnType<typeof createOrderPages>

export function createOrderPages ({ db, collection, observe }: {
  db: Db, collection: string, observe: ListsObserver
}) {
  let heldBytes = 0

  const finds = createBatcher<PageQuery, Found>({
    run: async (queries) => [{ status: 'fulfilled', value: await find(queries[0]!) }],
    inFlightMax: IN_FLIGHT_MAX,
    besideMin: 1,
    batchItemsMax: 1,
    batchBytesMax: Infinity,
    itemsMax: WAITING_MAX,
    bytesMax: Infinity,
    waitMsMax: READ_MS_MAX,
    full: overloaded,
    late: () => new StoreUnavailable()
  })

  function overloaded (): Error {
    observe.shed('pages')
    return new Overloaded()
  }

  /** One answer of MongoDB. It holds 16 MB at most, so a page of very large orders has fewer than were asked for. */
  async function find (query: PageQuery): Promise<Found> {
    const command = commandOf(collection, query)
    const cursor = createCursor({ db, collection, raw: true, answerMsMax: READ_MS_MAX, ...deadline(READ_MS_MAX) })
    try {
      const { documents } = await tryTwice(() => cursor.open(command))
      const orders = documents as unknown as Buffer[]
      const isWhole = orders.length < command.limit && cursor.ended
      if (orders.length === command.limit) orders.pop()
      return { orders, last: isWhole ? undefined : idOf(orders.at(-1)!) }
    } catch (cause) {
      const filter = filterOf(query)
      if (filter !== undefined && cause instanceof MongoServerError && cause.code === BAD_VALUE) {
        throw new IndexMissing(filter)
      }
      throw new StoreUnavailable({ cause })
    } finally {
      cursor.close() // nobody waits for it
    }
  }

  async function * write (orders: Buffer[], bytes: number, framing: Framing): AsyncGenerator<Buffer> {
    const out = new JsonBuffer()
    try {
      yield Buffer.alloc(0) // seen by nobody: a generator that has not begun would end without its `finally`
      out.ascii(framing.open)
      for (const [index, bson] of orders.entries()) {
        if (index > 0) out.ascii(framing.between)
        writeOrder(bson, out)
        out.ascii(framing.after)
        if (out.length >= AT_ONCE_BYTES) yield out.take()
      }
      out.ascii(framing.close)
      yield out.take()
    } finally {
      heldBytes -= bytes
    }
  }

  return {
    /**
     * Orders in the order of their ids. In a walk from page to page none comes twice, and none is left out that was
     * stored when the walk began.
     * @throws Overloaded, IndexMissing, StoreUnavailable
     */
    async read (query: PageQuery, framing: Framing): Promise<Page> {
      if (heldBytes > HELD_BYTES_MAX) throw overloaded()
      const { orders, last } = await finds.submit(query)
      const bytes = orders.reduce((sum, { length }) => sum + length, 0)
      heldBytes += bytes
      const chunks = write(orders, bytes, framing)
      await chunks.next()
      if (bytes > AT_ONCE_BYTES) return { body: chunks, last }
      const pieces: Buffer[] = []
      for await (const chunk of chunks) pieces.push(chunk)
      return { body: pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces), last }
    }
  }
}
