import { STATUS_CODES } from 'node:http'
import build from 'fast-json-stringify'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { TObject } from '@sinclair/typebox'
import { ProblemSchema, type Problem, type ProblemPlace } from '../schemas/problem.ts'
import { RouteNotFound } from '../src/errors.ts'

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'
export const serializeProblem = build(ProblemSchema) as (problem: unknown) => string

/** Every error as application/problem+json (RFC 9457): thrown ones, unknown routes and what the framework refuses. */
export default fp(async (app) => {
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request) => {
    throw new RouteNotFound(request.method, request.url)
  })
}, { name: 'problems' })

/**
 * Whole seconds are all that Retry-After can say. Callers that were turned away together should not all come back
 * together.
 */
const OVERLOADED_SECONDS_MAX = 2

/** Also Fastify's `frameworkErrors`, for what fails before a route is found. */
export function sendProblem (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error, request)
  if (problem.status === 500) request.log.error({ err: error, requestId: request.id }, 'a request failed')
  reply.header('x-request-id', request.id) // no hook does it where no route was found for want of a valid path
  if (problem.status === 503 || problem.status === 409) {
    reply.header(
      'retry-after',
      String(problem.code === 'OVERLOADED' ? 1 + Math.floor(Math.random() * OVERLOADED_SECONDS_MAX) : 1)
    )
  }
  reply.code(problem.status).type(PROBLEM_TYPE).serializer(serializeProblem).send(problem)
}

/** A whole HTTP answer, for what never became a request. */
export function problemOnSocket (status: number, code: string, detail: string, requestId: string): string {
  const body = serializeProblem(problem(status, code, detail, requestId, undefined))
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${requestId}`,
    'Connection: close'
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

/** The framework's own codes, in our words. Others go by their status. */
const CODES: Record<string, [code: string, detail?: string]> = {
  FST_ERR_CTP_INVALID_JSON_BODY: ['INVALID_JSON', 'The body is not valid JSON.'],
  FST_ERR_CTP_EMPTY_JSON_BODY: ['INVALID_JSON', 'The body is empty; send a JSON object.'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['UNSUPPORTED_MEDIA_TYPE', 'Send the body as application/json.'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['BODY_TOO_LARGE', 'The body is larger than 256 KiB.'],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['INVALID_CONTENT_LENGTH', 'The body is not as long as Content-Length says.'],
  FST_ERR_BAD_URL: ['BAD_URL', 'The path is not a valid URL path.'],
  FST_ERR_MAX_PARAM_LENGTH: ['VALIDATION_FAILED', 'A part of the path is too long.'],
  FST_ERR_HANDLER_TIMEOUT: ['HANDLER_TIMEOUT', 'The request took too long. Try again.']
}

const KEY = [{ header: 'idempotency-key' }]
/** Where in the request the mistake is, of errors that can only be at one place. */
const PLACES: Record<string, Omit<ProblemPlace, 'detail'>[]> = {
  USER_ID_CONFLICT: [{ pointer: '/userId' }, { header: 'x-user-id' }],
  USER_ID_REPEATED: [{ header: 'x-user-id' }],
  IDEMPOTENCY_KEY_REPEATED: KEY,
  IDEMPOTENCY_KEY_MALFORMED: KEY,
  IDEMPOTENCY_KEY_REUSED: KEY,
  IDEMPOTENCY_KEY_IN_USE: KEY,
  CONTENT_ENCODING_UNSUPPORTED: [{ header: 'content-encoding' }],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [{ header: 'content-type' }],
  HOST_MISSING: [{ header: 'host' }]
}

interface ValidationError { instancePath: string, keyword: string, message?: string, params: Record<string, unknown> }
interface ThrownError extends Error {
  /** Where the mistake is, if the code alone doesn't say it. */
  places?: Omit<ProblemPlace, 'detail'>[]
  statusCode?: number
  code?: string
  validation?: ValidationError[]
  validationContext?: string
}

/** The caller's mistakes are explained; ours stay opaque and go to the log with their cause. */
function problemOf (error: ThrownError, { id: requestId, url: instance, routeOptions }: FastifyRequest): Problem {
  if (error.validation !== undefined) {
    const { querystring } = routeOptions.schema ?? {}
    const errors = error.validation.map((validation) => placeOf(validation, error.validationContext, querystring))
    return problem(400, 'VALIDATION_FAILED', errors[0]!.detail, requestId, instance, errors)
  }
  const status = error.statusCode ?? 500
  const [code, detail] = CODES[error.code ?? ''] ?? []
  if (status === 500) {
    return problem(
      500,
      'INTERNAL',
      'The service failed. The request id finds the reason in its log.',
      requestId,
      instance
    )
  }
  const text = detail ?? error.message
  const places = (error.places ?? PLACES[error.code ?? ''] ?? []).map((place) => ({ ...place, detail: text }))
  return problem(status, code ?? codeOf(error, status), text, requestId, instance, places)
}

export function problem (
  status: number,
  code: string,
  detail: string,
  requestId: string,
  instance: string | undefined,
  errors: ProblemPlace[] = []
): Problem {
  return {
    type: `urn:order-service:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    ...(instance === undefined ? {} : { instance }),
    code,
    message: detail,
    requestId,
    errors
  }
}

function codeOf ({ code }: ThrownError, status: number): string {
  if (code !== undefined && !code.startsWith('FST_')) return code
  return (STATUS_CODES[status] ?? 'ERROR').toUpperCase().replaceAll(/[^A-Z]+/g, '_')
}

function placeOf (
  { instancePath, keyword, message, params }: ValidationError,
  context = 'body',
  querySchema: unknown = undefined
): ProblemPlace {
  const missing = keyword === 'required' ? `/${escapePointer(String(params.missingProperty))}` : ''
  const unknown = keyword === 'additionalProperties' ? `/${escapePointer(String(params.additionalProperty))}` : ''
  const pointer = instancePath + missing + unknown
  const what = explain(keyword, message, unknown !== '', missing !== '')
  const name = pointer.slice(1)
  switch (context) {
    case 'headers': return { header: name, detail: `The header ${name} ${what}.` }
    case 'params': return { parameter: name, detail: `The ${name} in the path ${what}.` }
    case 'querystring': return { parameter: name, detail: explainParameter(name, keyword, message, querySchema) }
    default: return { pointer, detail: `${pointer === '' ? 'The body' : pointer} ${what}.` }
  }
}

function explain (keyword: string, message: string | undefined, unknown: boolean, missing: boolean): string {
  if (missing) return 'is missing'
  if (unknown) return 'is not a known field'
  if (keyword === 'pattern') {
    if (message?.includes('[0-9a-f')) return 'must be 24 hex digits'
    if (message?.includes('[A-Za-z0-9_-]')) return 'must be the id of an event, as the feed sends it'
    return 'must be 1 to 128 characters, without a lone surrogate'
  }
  return message ?? 'is not valid'
}

/** Words for a pattern are those of its schema. */
function explainParameter (name: string, keyword: string, message: string | undefined, querySchema: unknown): string {
  if (keyword === 'additionalProperties') return `There is no parameter ${name} here.`
  const { description } = (querySchema as TObject).properties[name]!
  const isPlain = keyword !== 'pattern' && keyword !== 'enum' && keyword !== 'format'
  return `The parameter ${name} ${isPlain ? message : 'is not what it must be'}: ${description}.`
}

/** A name may be as long as a body; its beginning shows which one it is. */
const NAME_MAX = 200

/** RFC 6901, section 3. */
function escapePointer (name: string): string {
  return name.slice(0, NAME_MAX).replaceAll('~', '~0').replaceAll('/', '~1').toWellFormed()
}
