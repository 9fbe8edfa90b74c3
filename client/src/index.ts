import axios, {
  isAxiosError,
  type AxiosError,
  type AxiosInstance,
  type AxiosRequestConfig,
  type CreateAxiosDefaults
} from 'axios'
import axiosRetry, { exponentialDelay, isNetworkError } from 'axios-retry'
import { listen, type ListenOptions, type ListenQuery, type PublishedOrder } from './listen.ts'
import type { ListOrdersData, NewOrder, Order, Problem } from './generated/types.gen.ts'

export type { ListenOptions, ListenQuery, PublishedOrder } from './listen.ts'
export type { NewOrder, Order, OrderLine, Problem, ProblemPlace } from './generated/types.gen.ts'

/** What a walk over pages is asked for. */
export type OrderQuery = Omit<NonNullable<ListOrdersData['query']>, 'ids'>

export interface CallOptions {
  /** Ends the call, with all its attempts. */
  signal?: AbortSignal
  headers?: Record<string, string>
}

export interface CreateOptions extends CallOptions {
  /** By default a new one for each call. Give your own to make several calls one order, as over a restart of yours. */
  idempotencyKey?: string
}

export interface OrdersClientOptions extends CreateAxiosDefaults {
  /** Attempts after the first one, 3 by default. */
  retries?: number
}

/** Ids in a request of `many`: their text is what usual proxies take in a line. DataLoader's `maxBatchSize`. */
export const IDS_MAX = 250
/** Above the 10 s in which the service says whether an order is stored. */
const TIMEOUT_MS = 12_000
const NEXT = /<([^>]*)>; rel="next"/

export type OrdersClient = ReturnType<typeof createOrdersClient>

/**
 * A client of the order service. Whatever fails without an answer, is overloaded or is under way elsewhere is tried
 * again, after `Retry-After` if there is one; an order is sent with an Idempotency-Key, so that it is stored once.
 * Every other answer but a 2xx rejects with Axios' own error: `problemOf(error)` is what the service says.
 * @param options of Axios, above all `baseURL`, the address of the service without `/orders`
 */
export function createOrdersClient ({ retries = 3, ...options }: OrdersClientOptions) {
  const http = axios.create({ timeout: TIMEOUT_MS, ...options })
  axiosRetry(http, { retries, retryDelay: exponentialDelay, shouldResetTimeout: true, retryCondition: mayBeRepeated })

  async function fetchPage (url: string, params: OrderQuery | undefined, options: CallOptions) {
    const { data, headers } = await http.get<Order[]>(url, { params, ...options })
    const [, next] = NEXT.exec(String(headers.link ?? '')) ?? []
    return { orders: bodyOf(data), next: next === undefined ? undefined : `/orders${next}` }
  }

  async function * pages (query: OrderQuery = {}, options: CallOptions = {}): AsyncGenerator<Order[], void> {
    // Without a parameter it would be the list of all orders at once.
    let page = await fetchPage('/orders', { limit: 100, ...query }, options)
    for (;;) {
      if (page.orders.length > 0) yield page.orders
      if (page.next === undefined) return
      page = await fetchPage(page.next, undefined, options)
    }
  }

  return {
    /** Axios as this client uses it, for interceptors. */
    http: http as AxiosInstance,

    /** Stores an order, once, however often it has to be sent. */
    async create (order: NewOrder, { idempotencyKey, headers, ...options }: CreateOptions = {}): Promise<Order> {
      const key = idempotencyKey ?? crypto.randomUUID()
      const { data } = await http.post<Order>('/orders', order, {
        ...options,
        headers: { ...headers, 'idempotency-key': key }
      })
      return bodyOf(data)
    },

    /** One order, or undefined where there is none. */
    async get (id: string, options: CallOptions = {}): Promise<Order | undefined> {
      try {
        return bodyOf((await http.get<Order>(`/orders/${encodeURIComponent(id)}`, options)).data)
      } catch (error) {
        if (problemOf(error)?.code === 'ORDER_NOT_FOUND') return undefined
        throw error
      }
    },

    /** Orders by id, in the order of the ids, and null for those that are unknown: what DataLoader asks for. */
    async many (ids: readonly string[], options: CallOptions = {}): Promise<(Order | null)[]> {
      const batches: (readonly string[])[] = []
      for (let first = 0; first < ids.length; first += IDS_MAX) batches.push(ids.slice(first, first + IDS_MAX))
      const answers = await Promise.all(batches.map((batch) =>
        http.get<(Order | null)[]>('/orders', { params: { ids: batch.join() }, ...options })))
      return answers.flatMap(({ data }) => bodyOf(data))
    },

    /** Page by page, each fetched when the one before it was taken. */
    pages,

    /** Order by order, fetched in pages. */
    async * list (query: OrderQuery = {}, options: CallOptions = {}): AsyncGenerator<Order, void> {
      for await (const orders of pages(query, options)) yield * orders
    },

    /**
     * Orders as they are published, each once, until `signal` aborts. It comes back by itself when the connection is
     * lost; to go on after a restart of yours, keep the last `id`.
     */
    listen: (query: ListenQuery = {}, options: ListenOptions = {}): AsyncGenerator<PublishedOrder, void> =>
      listen(http, query, options)
  }
}

/** What the service says about an error; undefined for one that has no answer, or another answer. */
export function problemOf (error: unknown): Problem | undefined {
  if (!isAxiosError<Problem>(error)) return undefined
  const { data, headers } = error.response ?? {}
  return String(headers?.['content-type']).startsWith('application/problem+json') ? data : undefined
}

/** Without the envelope, where the service has one (RESPONSE_ENVELOPE). */
function bodyOf<T> (data: T): T {
  return data !== null && typeof data === 'object' && 'result' in data ? data.result as T : data
}

/** A request that changes nothing, or says by its key that it was sent before, after what may be another time. */
function mayBeRepeated (error: AxiosError): boolean {
  const { config, response, code } = error
  if (!isSafe(config) || code === 'ERR_CANCELED') return false
  if (response === undefined) return isNetworkError(error) || code === 'ECONNABORTED' || code === 'ETIMEDOUT'
  return [429, 503].includes(response.status) || problemOf(error)?.code === 'IDEMPOTENCY_KEY_IN_USE'
}

function isSafe (config: AxiosRequestConfig | undefined): boolean {
  return config?.method?.toLowerCase() === 'get' || config?.headers?.['idempotency-key'] !== undefined
}
