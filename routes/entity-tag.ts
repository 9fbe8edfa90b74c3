import { crc32 } from 'node:zlib'
import type { OrderJson } from '../src/encoding/order-json.ts'

/* Conditional requests: RFC 9110, sections 8.8.3 and 13.1.2. */

/** Weak, as it speaks of the order and not of how it is sent. */
export function entityTagOf (body: OrderJson): string {
  return `W/"${crc32(body).toString(36)}-${body.length.toString(36)}"`
}

const TAG = /(?:W\/)?("[\x21\x23-\x7e\x80-\xff]*")/g

/**
 * Whether the client has the body already: by If-None-Match, which is `*` or a list of tags, of which it does not
 * matter whether they are weak.
 */
export function hasTag (ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  const opaque = tag.slice(2)
  return [...ifNoneMatch.matchAll(TAG)].some(([, each]) => each === opaque)
}
