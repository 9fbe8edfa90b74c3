import { STATUS_CODES } from 'node:http'
import type { FastifySchema, RouteOptions } from 'fastify'
import { KEY_HEADER_PATTERN, TEXT_CHARACTERS_MAX, TEXT_PATTERN } from '../schemas/order.ts'
import { IDS_MAX } from '../schemas/order-query.ts'
import { ProblemSchema } from '../schemas/problem.ts'

/*
 * The OpenAPI document, out of the routes' own schemas: what they hold for Fastify becomes what OpenAPI 3.1 can say.
 */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type JsonObject = Record<string, Json>

/** What any request can be answered with. */
const ALWAYS: Record<number, string[]> = {
  408: ['REQUEST_TIMEOUT'],
  417: ['EXPECTATION_FAILED'],
  431: ['HEADERS_TOO_LARGE'],
  500: ['INTERNAL']
}
const REQUEST_ID = { type: 'string', description: "the request's x-request-id, or one of the service's own" }
const RETRY_AFTER = { type: 'integer', minimum: 1, description: 'seconds' }
const RETRIED = [409, 503]
const SCHEMAS = '#/components/schemas/'

/**
 * A route as the document shows it. Everything is there a second time without `/orders`, and to HEAD, which would say
 * nothing new.
 * @param enveloped RESPONSE_ENVELOPE is `result`
 */
export function describeRoute (
  { schema = {}, url, route }: { schema?: FastifySchema, url: string, route: Pick<RouteOptions, 'method'> },
  enveloped: boolean
): { schema: FastifySchema, url: string } {
  const isShown = /^\/orders(\/|$)/.test(url) && ![route.method].flat().includes('HEAD')
  if (!isShown) return { schema: { hide: true }, url }
  const { problems = {}, response, ...rest } = schema
  const { '4xx': _caller, '5xx': _service, ...answers } = response as Record<string, Record<string, unknown>>
  return {
    url: url.replace(/(.)\/$/, '$1'),
    schema: {
      ...rest,
      tags: ['orders'],
      response: {
        ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [
          status,
          {
            ...answer,
            ...(enveloped && answer.content !== undefined && { content: inEnvelope(answer.content) }),
            headers: { ...answer.headers as object, 'X-Request-Id': REQUEST_ID }
          }
        ])),
        ...Object.fromEntries(Object.entries({ ...ALWAYS, ...problems }).map(([status, codes]) => [
          status,
          problemAnswer(Number(status), codes)
        ]))
      }
    }
  }
}

function problemAnswer (status: number, codes: string[]): object {
  return {
    description: `${STATUS_CODES[status]}: ${codes.join(', ')}`,
    headers: { 'X-Request-Id': REQUEST_ID, ...(RETRIED.includes(status) && { 'Retry-After': RETRY_AFTER }) },
    content: { 'application/problem+json': { schema: ProblemSchema } }
  }
}

function inEnvelope (content: unknown): object {
  const { 'application/json': json, ...others } = content as Record<string, { schema: object }>
  if (json === undefined) return others
  const schema = {
    type: 'object',
    required: ['result'],
    properties: { result: json.schema },
    additionalProperties: false
  }
  return { 'application/json': { schema }, ...others }
}

/** Schemas with a title become components of that name, and what only this service understands is translated. */
export function finishDocument (document: JsonObject): JsonObject {
  const schemas: JsonObject = {}

  function finish (value: Json): Json {
    if (Array.isArray(value)) return value.map(finish)
    if (value === null || typeof value !== 'object') return value
    const { title, ...rest } = value
    const finished: JsonObject = Object.fromEntries(
      Object.entries(translate(rest)).map(([name, each]) => [name, finish(each)])
    )
    if (typeof title !== 'string' || !('type' in rest)) return title === undefined ? finished : { title, ...finished }
    schemas[title] = finished
    return { $ref: SCHEMAS + title }
  }

  const paths = finish(document.paths!)
  const inOrder = Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => a < b ? -1 : 1))
  return { ...document, paths, components: { schemas: inOrder } }
}

function translate (value: JsonObject): JsonObject {
  // JSON Schema counts characters, and JSON has no other ones; not every validator knows surrogates in a pattern.
  if (value.pattern === TEXT_PATTERN) {
    const { pattern, ...rest } = value
    return { ...rest, minLength: 1, maxLength: TEXT_CHARACTERS_MAX }
  }
  if (value.in === 'header' && value.name === 'idempotency-key') {
    return { ...value, schema: { type: 'string', pattern: KEY_HEADER_PATTERN } } // the schema is of the decoded one
  }
  if (value.in === 'query' && value.name === 'ids') {
    const items = { type: 'string', pattern: '^[0-9a-fA-F]{24}$' }
    return { ...value, style: 'form', explode: false, schema: { type: 'array', minItems: 1, maxItems: IDS_MAX, items } }
  }
  return value
}
