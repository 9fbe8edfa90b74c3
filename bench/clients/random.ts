/**
 * Numbers that are the same for the same seed (mulberry32): which request does what, which fault comes when and whom it
 * meets.
 */
export type Random = ReturnType<typeof createRandom>

export function createRandom (seed: number) {
  let state = seed >>> 0

  /** In [0, 1). */
  function next (): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  return {
    next,
    below: (end: number): number => Math.floor(next() * end),
    chance: (share: number): boolean => next() < share,
    pick: <T>(values: readonly T[]): T => values[Math.floor(next() * values.length)]!,
    shuffled<T> (values: readonly T[]): T[] {
      const result = [...values]
      for (let i = result.length - 1; i > 0; i--) {
        const j = Math.floor(next() * (i + 1));
        [result[i], result[j]] = [result[j]!, result[i]!]
      }
      return result
    }
  }
}
