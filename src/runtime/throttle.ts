export type Throttle = ReturnType<typeof createThrottle>

/**
 * For lines that are news once, and then noise.
 * @param ms a subject comes up at most once in so long
 */
export function createThrottle (ms: number) {
  const cameUpAt = new Map<string, number>()
  return {
    /** Whether it may come up now; if so, not again for `ms`. */
    allows (subject = ''): boolean {
      const now = performance.now()
      if (now - (cameUpAt.get(subject) ?? -Infinity) < ms) return false
      cameUpAt.set(subject, now)
      return true
    },

    /** It may come up at once, as something has happened since. */
    reset (): void { cameUpAt.clear() }
  }
}
