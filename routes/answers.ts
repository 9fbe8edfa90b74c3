import type { Settings } from '../schemas/settings.ts'
import { ProblemSchema } from '../schemas/problem.ts'

export const JSON_TYPE = 'application/json; charset=utf-8'
export const problems = { '4xx': ProblemSchema, '5xx': ProblemSchema }

/** What RESPONSE_ENVELOPE puts before and after a body. */
export function envelopeOf ({ RESPONSE_ENVELOPE }: Settings): [prefix: string, suffix: string] {
  return RESPONSE_ENVELOPE === 'result' ? ['{"result":', '}'] : ['', '']
}
