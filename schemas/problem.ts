import { Type, type Static } from '@sinclair/typebox'

/** One place in the request that is wrong. */
export const ProblemPlaceSchema = Type.Object({
  pointer: Type.Optional(Type.String({ description: 'JSON pointer (RFC 6901) into the body' })),
  header: Type.Optional(Type.String()),
  parameter: Type.Optional(Type.String()),
  detail: Type.String()
})
export type ProblemPlace = Static<typeof ProblemPlaceSchema>

/** RFC 9457. `message` repeats `detail` for clients that read only that, as the gateway does. */
export const ProblemSchema = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  /** Absent where no path was received. */
  instance: Type.Optional(Type.String()),
  code: Type.String(),
  message: Type.String(),
  requestId: Type.String(),
  errors: Type.Array(ProblemPlaceSchema)
})
export type Problem = Static<typeof ProblemSchema>
