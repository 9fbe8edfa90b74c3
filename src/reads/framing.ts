import type { OrderJson } from '../encoding/order-json.ts'

/** What stands around the orders of a list, in ASCII. */
export interface Framing {
  open: string
  /** Between two orders, one character. */
  between: string
  /** After each order, one character or none. */
  after: string
  close: string
}

/** @param envelope what RESPONSE_ENVELOPE puts around a body */
export function jsonArray ([prefix, suffix]: readonly [prefix: string, suffix: string]): Framing {
  return { open: `${prefix}[`, between: ',', after: '', close: `]${suffix}` }
}

/** An order on each line. */
export const LINES: Framing = { open: '', between: '', after: '\n', close: '' }

const NULL = 'null'

/** The body of orders that are at hand; null stands for one that isn't there. */
export function join (orders: (OrderJson | undefined)[], { open, between, after, close }: Framing): string | Buffer {
  const pieces: OrderJson[] = [open]
  orders.forEach((order, index) => {
    if (index > 0) pieces.push(between)
    pieces.push(order ?? NULL, after)
  })
  pieces.push(close)
  if (pieces.every((piece) => typeof piece === 'string')) return pieces.join('')
  return Buffer.concat(pieces.map((piece) => typeof piece === 'string' ? Buffer.from(piece, 'latin1') : piece))
}
