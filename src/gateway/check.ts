import { LRUCache } from 'lru-cache'
import type { NewOrder } from '../../schemas/order.ts'
import { createBatcher } from '../runtime/batcher.ts'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import type { Field, Gateway, Knowledge, Question } from './ask.ts'

/*
 * Whether the user and the products of an order exist, as the gateway says. What several orders ask about in one moment
 * is one question, in one request with others, and an answer is kept for a while.
 */

const KEPT_MAX = 10_000
const KNOWN_MS = 60_000
/** A product that was just made must not stay unknown. */
const UNKNOWN_MS = 1_000
const REQUESTS_MAX = 4
const WAITING_MAX = 1_000
const COMPLAIN_MS = 60_000

export interface Doubts {
  /** JSON pointers into the order. */
  unknown: string[]
  /** Of something the gateway did not say whether it exists. */
  unsure: boolean
}

export interface GatewayObserver { checked: (knowledge: Knowledge) => void, asked: (seconds: number) => void }

export type OrderCheck = ReturnType<typeof createOrderCheck>

/** @param fields undefined for what isn't asked about */
export function createOrderCheck ({ gateway, fields, batchMax, timeoutMs, log, observe }: {
  gateway: Pick<Gateway, 'ask'>
  fields: { user: Field | undefined, product: Field | undefined }
  batchMax: number
  timeoutMs: number
  log: Logger
  observe: GatewayObserver
}) {
  const kept = new LRUCache<string, Exclude<Knowledge, 'unsure'>>({ max: KEPT_MAX, ttl: KNOWN_MS })
  const flights = new Map<string, Promise<Knowledge>>()
  const complaints = createThrottle(COMPLAIN_MS)

  const questions = createBatcher<Question, Knowledge>({
    async run (batch) {
      const began = performance.now()
      const answers = await gateway.ask(batch).finally(() => observe.asked((performance.now() - began) / 1000))
      return answers.map((value) => ({ status: 'fulfilled', value }))
    },
    inFlightMax: REQUESTS_MAX,
    besideMin: 1,
    batchItemsMax: batchMax,
    batchBytesMax: Infinity,
    itemsMax: WAITING_MAX,
    bytesMax: Infinity,
    waitMsMax: timeoutMs,
    full: () => new Error('too many questions wait for it'),
    late: () => new Error('it did not answer in time')
  })

  function find (field: Field, id: string): Knowledge | Promise<Knowledge> {
    const key = `${field.field} ${id}`
    return kept.get(key) ?? flights.get(key) ?? fly(key, { field, id })
  }

  function fly (key: string, question: Question): Promise<Knowledge> {
    const flight = within(timeoutMs, 'its answer', questions.submit(question)).then((knowledge) => {
      if (knowledge !== 'unsure') kept.set(key, knowledge, { ttl: knowledge === 'known' ? KNOWN_MS : UNKNOWN_MS })
      return knowledge
    }, (error): Knowledge => {
      if (complaints.allows()) log.warn({ reason: error.message }, "the gateway can't be asked about orders")
      return 'unsure'
    }).finally(() => flights.delete(key))
    flights.set(key, flight)
    return flight
  }

  /** Never rejects, and takes no longer than an answer may. */
  return async function check ({ userId, products }: NewOrder): Promise<Doubts> {
    const { user, product } = fields
    const asked = [
      ...(user === undefined ? [] : [{ pointer: '/userId', field: user, id: userId }]),
      ...(product === undefined
        ? []
        : products.map(({ _id: id }, index) => ({ pointer: `/products/${index}/_id`, field: product, id })))
    ]
    const found = await Promise.all(asked.map(async ({ pointer, field, id }) => (
      { pointer, knowledge: await find(field, id) }
    )))
    for (const { knowledge } of found) observe.checked(knowledge)
    return {
      unknown: found.filter(({ knowledge }) => knowledge === 'unknown').map(({ pointer }) => pointer),
      unsure: found.some(({ knowledge }) => knowledge === 'unsure')
    }
  }
}
