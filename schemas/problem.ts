import { Type, type Static } from '@sinclair/typebox'

/** One place in the request that is wrong. */
export const ProblemPlaceSchema = Type.Object({
  pointer: Type.Optional(Type.String({ description: 'JSON pointer (RFC 6901) into the body' })),
  header: Type.Optional(Type.String()),
  parameter: Type.Optional(Type.String()),
  detail: Type.String()
}, { title: 'ProblemPlace' })
export type ProblemPlace = Static<typeof ProblemPlaceSchema>

/** RFC 9457. `message` repeats `detail` for clients that read only that, as the gateway does. */
export const ProblemSchema = Type.Object({
  type: Type.String({ description: 'a URN of the code' }),
  title: Type.String({ description: "the status' name" }),
  status: Type.Integer(),
  detail: Type.String({ description: 'what is wrong, for people' }),
  instance: Type.Optional(Type.String({ description: 'path and query; missing where none was received' })),
  code: Type.String({ description: 'what is wrong, for programs' }),
  message: Type.String({ description: 'the detail once more' }),
  requestId: Type.String({ description: 'finds the cause in the log' }),
  errors: Type.Array(ProblemPlaceSchema, { description: 'the places in the request that are wrong' })
}, { title: 'Problem' })
export type Problem = Static<typeof ProblemSchema>
