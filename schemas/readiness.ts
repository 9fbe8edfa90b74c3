import { Type, type Static } from '@sinclair/typebox'

/** What /readyz says; with several workers it is about all of them. */
export const ReadinessSchema = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('unready')]),
  closing: Type.Boolean(),
  mongodb: Type.Boolean(),
  redis: Type.Union([Type.Boolean(), Type.Literal('off')]),
  relay: Type.Union([Type.Literal('leader'), Type.Literal('follower'), Type.Literal('off')]),
  /** Only where WORKERS is more than 1. */
  workers: Type.Optional(Type.Object({ ready: Type.Integer(), expected: Type.Integer() }))
})
export type Readiness = Static<typeof ReadinessSchema>
