import { STATUS_CODES } from 'node:http'
import build from 'fast-json-stringify'
import { ProblemSchema, type Problem, type ProblemPlace } from '../schemas/problem.ts'

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8'

export const serializeProblem = build(ProblemSchema) as (problem: unknown) => string

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

interface ValidationError { instancePath: string, keyword: string, message?: string, params: Record<string, unknown> }
interface ThrownError extends Error { statusCode?: number, code?: string, validation?: ValidationError[], validationContext?: string }

/** What the caller did wrong is told; what we did wrong stays opaque and goes to the log with its cause. */
export function problemOf (error: ThrownError, requestId: string, instance: string): Problem {
  if (error.validation !== undefined) {
    const errors = error.validation.map((validation) => placeOf(validation, error.validationContext))
    return problem(400, 'VALIDATION_FAILED', errors[0]!.detail, requestId, instance, errors)
  }
  const status = error.statusCode ?? 500
  const [code, detail] = CODES[error.code ?? ''] ?? []
  if (status === 500) return problem(500, 'INTERNAL', 'The service failed. The request id finds the reason in its log.', requestId, instance)
  return problem(status, code ?? codeOf(error, status), detail ?? error.message, requestId, instance)
}

export function problem (status: number, code: string, detail: string, requestId: string, instance: string, errors: ProblemPlace[] = []): Problem {
  return {
    type: `urn:order-service:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    instance,
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

function placeOf ({ instancePath, keyword, message, params }: ValidationError, context = 'body'): ProblemPlace {
  const missing = keyword === 'required' ? `/${escapePointer(String(params.missingProperty))}` : ''
  const unknown = keyword === 'additionalProperties' ? `/${escapePointer(String(params.additionalProperty))}` : ''
  const pointer = instancePath + missing + unknown
  const what = explain(keyword, message, unknown !== '', missing !== '')
  const name = pointer.slice(1)
  switch (context) {
    case 'headers': return { header: name, detail: `The header ${name} ${what}.` }
    case 'params': return { parameter: name, detail: `The ${name} in the path ${what}.` }
    default: return { pointer, detail: `${pointer === '' ? 'The body' : pointer} ${what}.` }
  }
}

function explain (keyword: string, message: string | undefined, unknown: boolean, missing: boolean): string {
  if (missing) return 'is missing'
  if (unknown) return 'is not known here'
  if (keyword === 'pattern') return message?.includes('[0-9a-f') ? 'must be 24 hex digits' : 'must be 1 to 128 characters, without a lone surrogate'
  return message ?? 'is not valid'
}

/** A name may be as long as a body; its beginning tells which one it is. */
const NAME_MAX = 200

/** RFC 6901, section 3. */
function escapePointer (name: string): string {
  return name.slice(0, NAME_MAX).replaceAll('~', '~0').replaceAll('/', '~1').toWellFormed()
}
