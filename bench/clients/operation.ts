/** An order that a sender wants. Its number is part of the order, so that it is known whoever brings it. */
export interface Operation {
  n: number
  /** As it was sent. */
  userId: string
  products: unknown
  /** Idempotency-Key; only an operation that has one is sent more than once. */
  key?: string | undefined
  attempts: Attempt[]
}

/** What became of one request: `maybe` when nobody can know, `refused` when the answer says that nothing was stored. */
export type Attempt =
  | { outcome: 'created', id: string, body: string }
  | { outcome: 'refused', status: number, code: string }
  | { outcome: 'maybe', status: number, code: string }
