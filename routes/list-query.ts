import type { FastifyReply, FastifyRequest } from 'fastify'
import type { TObject } from '@sinclair/typebox'
import { OrderQuerySchema, type OrderQuery } from '../schemas/order-query.ts'
import { FilterOff, ParameterRepeated, ParametersConflict, QueryMalformed } from '../src/errors.ts'
import type { OrderFilter } from '../src/models.ts'
import { filterOf, type PageQuery } from '../src/reads/page-query.ts'

const NUMBER = /^(?:0|[1-9]\d{0,8})$/

/**
 * What a schema can't say of a query. Numbers become numbers here, by their digits alone: Ajv's coercion would take
 * `0x10` and `1e3` too.
 */
export function readQuery (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const query = request.query as Record<string, unknown>
  if (typeof query.limit === 'string' && NUMBER.test(query.limit)) query.limit = Number(query.limit)
  done(mistakeIn(request, OrderQuerySchema))
}

/** A query that can't be decoded, or has a parameter of the schema twice. */
export function mistakeIn ({ url, query }: FastifyRequest, schema: TObject): Error | undefined {
  if (!isPercentEncoded(url)) return new QueryMalformed()
  const twice = Object.keys(schema.properties).find((name) => Array.isArray((query as Record<string, unknown>)[name]))
  return twice === undefined ? undefined : about([twice], new ParameterRepeated(twice))
}

/** The parser takes what it can't decode as it is. */
function isPercentEncoded (url: string): boolean {
  try {
    decodeURIComponent(url)
    return true
  } catch {
    return false
  }
}

/** @returns the ids of a batch, or undefined for a page. @throws ParametersConflict */
export function idsOf ({ ids, ...others }: OrderQuery): string[] | undefined {
  if (ids === undefined) return undefined
  const [other] = Object.keys(others)
  if (other !== undefined) throw about(['ids', other], new ParametersConflict('ids', other))
  return ids.toLowerCase().split(',')
}

/** What the setting of an index's filter is called. */
const SETTINGS: Record<OrderFilter, string> = { userId: 'user', productId: 'product' }

/** @throws ParametersConflict, FilterOff for a page that no index leads to */
export function checkFilter (query: PageQuery, filters: readonly OrderFilter[]): void {
  if (query.userId !== undefined && query.productId !== undefined) {
    throw about(['userId', 'productId'], new ParametersConflict('userId', 'productId'))
  }
  const filter = filterOf(query)
  if (filter !== undefined && !filters.includes(filter)) {
    throw about([filter], new FilterOff(filter, SETTINGS[filter]))
  }
}

function about (parameters: string[], error: Error): Error {
  return Object.assign(error, { places: parameters.map((parameter) => ({ parameter })) })
}
