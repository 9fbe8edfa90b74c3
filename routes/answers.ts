import type { TSchema } from '@sinclair/typebox'
import { ProblemSchema } from '../schemas/problem.ts'
import type { Settings } from '../schemas/settings.ts'

declare module 'fastify' {
  interface FastifySchema {
    /** For the OpenAPI document: the codes that come with a status. */
    problems?: Record<number, string[]>
  }
}

export const JSON_TYPE = 'application/json; charset=utf-8'
export const problemAnswers = { '4xx': ProblemSchema, '5xx': ProblemSchema }

interface Answer {
  description: string
  headers: Record<string, object>
  content: Record<string, { schema: TSchema }>
}

/** An answer as OpenAPI describes it, and as Fastify takes it for a schema. */
export function jsonAnswer (description: string, schema: TSchema, headers: Answer['headers'] = {}): Answer {
  return { description, headers, content: { 'application/json': { schema } } }
}

/** What RESPONSE_ENVELOPE puts before and after a body. */
export function envelopeOf ({ RESPONSE_ENVELOPE }: Settings): [prefix: string, suffix: string] {
  return RESPONSE_ENVELOPE === 'result' ? ['{"result":', '}'] : ['', '']
}
