import { hashOf, wordOf } from '../src/encoding/id-hash.ts'

/*
 * What is known of each order, by its id, in one flat table of numbers: 24 bytes an order, where a Map of strings takes
 * 150 or more. Its size is fixed when it is made (96 MiB at most, see SLICE_IDS_MAX), so the audit's memory doesn't
 * grow with the orders: of more than fit, it looks at one slice after the other, each the ids of which a hash gives one
 * number.
 */

/** What is known of an order, as bits. */
export const PUBLISHED = 1
export const PUBLISHED_TWICE = 2
export const REPLAYED = 4
/** A record that is no valid event names it. */
export const INVALID = 8
/** Its records, or its record and what is stored, have other contents. */
export const DIFFERS = 16
export const STORED = 32
/** The relay has yet to come to it. */
export const PENDING = 64
/** Stored, but it makes no event: an older service's, or none of this service's shape. */
export const LEGACY = 128
const USED = 1 << 31

const WORDS = 6
const SLOTS_MAX = 2 ** 22
const SLOTS_MIN = 2 ** 10
/** Beyond it, looking for a free slot would take long. */
const LOAD_MAX = 0.85
/** Ids are not spread quite evenly over slices, and some come while the audit reads. */
export const SLICE_IDS_MAX = SLOTS_MAX * 0.6

export type IdTable = ReturnType<typeof createIdTable>

/** @param ids how many are expected, at most SLICE_IDS_MAX */
export function createIdTable (ids: number) {
  const slots = Math.min(SLOTS_MAX, Math.max(SLOTS_MIN, 2 ** Math.ceil(Math.log2(ids / 0.6 + 1))))
  const words = new Uint32Array(slots * WORDS)
  let used = 0

  /** @returns the place of the id, or of the free slot where it belongs */
  function find (a: number, b: number, c: number): number {
    let slot = (hashOf(a, b, c) >>> 8) & (slots - 1)
    for (;; slot = (slot + 1) & (slots - 1)) {
      const at = slot * WORDS
      if (words[at + 5] === 0 || (words[at] === a && words[at + 1] === b && words[at + 2] === c)) return at
    }
  }

  return {
    /** Adds bits to what is known of `id`, 24 hex digits. @returns what was known before */
    add (id: string, bits: number): number {
      const [a, b, c] = wordsOf(id)
      const at = find(a, b, c)
      const before = words[at + 5]!
      if (before === 0) {
        if (++used > slots * LOAD_MAX) {
          throw new Error('more orders came while they were read than there is room for: run it again')
        }
        words.set([a, b, c, 0, 0, USED], at)
      }
      words[at + 5]! |= bits
      return before & ~USED
    },

    /** Adds bits only to an id that is there. */
    addIfKnown (id: string, bits: number): void {
      const at = find(...wordsOf(id))
      if (words[at + 5] !== 0) words[at + 5]! |= bits
    },

    /** Keeps the first digest of an id that is there. @returns whether it is the first, or the same as the first */
    sameDigest (id: string, digest: Buffer): boolean {
      const at = find(...wordsOf(id))
      const [high, low] = [digest.readUInt32BE(0), digest.readUInt32BE(4)]
      if (words[at + 3] === 0 && words[at + 4] === 0) {
        words[at + 3] = high
        words[at + 4] = low
      }
      return words[at + 3] === high && words[at + 4] === low
    },

    * entries (): Generator<{ id: string, bits: number }> {
      for (let at = 0; at < words.length; at += WORDS) {
        if (words[at + 5] === 0) continue
        const id = [0, 1, 2].map((word) => words[at + word]!.toString(16).padStart(8, '0')).join('')
        yield { id, bits: words[at + 5]! & ~USED }
      }
    }
  }
}

/** The slice that an id belongs to. It takes other bits of the hash than the table does. */
export function sliceOf (id: string, slices: number): number {
  if (slices === 1) return 0
  return (Math.imul(hashOf(...wordsOf(id)), 0x9e3779b1) >>> 0) % slices
}

function wordsOf (id: string): [number, number, number] {
  return [wordOf(id, 0) >>> 0, wordOf(id, 8) >>> 0, wordOf(id, 16) >>> 0] // as the table's array holds them
}
