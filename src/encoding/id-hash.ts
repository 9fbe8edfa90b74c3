/*
 * An order's id as three numbers of 32 bits, for tables that are made of numbers. They are signed, as typed arrays of
 * either kind take them.
 */

/** @param from where in the 24 hex digits, of either case, the eight of the number begin */
export function wordOf (id: string, from: number): number {
  let value = 0
  for (let at = from; at < from + 8; at++) {
    const code = id.charCodeAt(at)
    value = (value << 4) | ((code & 15) + (code >> 6) * 9)
  }
  return value
}

/**
 * Spreads ids that differ in a few bits only, as those of one process and second do (after MurmurHash3's finalizer).
 * @returns 32 bits, from 0
 */
export function hashOf (a: number, b: number, c: number): number {
  const h = mix(mix(a, b), c)
  return (h ^ (h >>> 16)) >>> 0
}

function mix (hash: number, word: number): number {
  const h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b) ^ word
  return Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
}
