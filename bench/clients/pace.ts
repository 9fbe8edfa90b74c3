const TICK_MS = 2

/**
 * Calls `send` so many times a second, whatever becomes of what it begins; what a busy moment delayed is caught up
 * with.
 * @param send gets its number and when it was due (performance.now()), from which a latency is to be counted
 * @returns what ends it
 */
export function startPace (perSecond: number, send: (n: number, due: number) => void): () => void {
  const start = performance.now()
  let n = 0
  const ticking = setInterval(() => {
    const now = performance.now()
    for (let due = start + n / perSecond * 1000; due <= now; due = start + n / perSecond * 1000) send(n++, due)
  }, TICK_MS)
  return () => clearInterval(ticking)
}
