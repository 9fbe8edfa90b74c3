/*
 * The ids that have to be marked in Redis as changed: those that could not be, and those of late that were. Redis may
 * lose what it has acknowledged, as a restart from a snapshot or a failover to a replica does, and then hold the order
 * of before again. So with each new connection, and after a refusal as of a replica, everything that Redis could still
 * hold is marked once more before Redis is used.
 */

/** Marked at once; what fails is tried again as a whole. */
const PIECE = 200
/** Ids kept for later. Beyond it Redis isn't read until everything in it has expired. */
const IDS_MAX = 100_000

/**
 * @param keptMs for so long after a change Redis may hold, or get back, an order of before it
 * @param write marks them all, or rejects
 * @param onOverflow there are more changes than can be kept
 */
export function createRedisMarks ({
  keptMs,
  write,
  onOverflow
}: {
  keptMs: number
  write: (ids: string[]) => Promise<void>
  onOverflow: () => void
}) {
  const missed = new Set<string>()
  /** Marked, by when; the oldest first. */
  const marked = new Map<string, number>()
  /** Until then it is not known what was marked. */
  let forgotUntil = -Infinity

  function remember (ids: string[]): void {
    const now = performance.now()
    for (const id of ids) {
      marked.delete(id)
      marked.set(id, now)
    }
    for (const [id, at] of marked) {
      if (now - at <= keptMs && marked.size <= IDS_MAX) break
      if (now - at <= keptMs) forgotUntil = at + keptMs
      marked.delete(id)
    }
  }

  function miss (ids: string[]): void {
    for (const id of ids) missed.add(id)
    if (missed.size <= IDS_MAX) return
    missed.clear()
    onOverflow()
  }

  /** Resolves once none is left; rejects with the first that fails. What is missed meanwhile is written too. */
  async function writeMissed (): Promise<void> {
    while (missed.size > 0) {
      const piece: string[] = []
      for (const id of missed) if (piece.push(id) === PIECE) break
      await write(piece)
      for (const id of piece) missed.delete(id)
      remember(piece)
    }
  }

  return {
    /** @returns whether they were all written; the rest is kept for `writeMissed` */
    async write (ids: string[]): Promise<boolean> {
      for (let at = 0; at < ids.length; at += PIECE) {
        const piece = ids.slice(at, at + PIECE)
        try {
          await write(piece)
          remember(piece)
        } catch {
          miss(ids.slice(at))
          return false
        }
      }
      return true
    },

    writeMissed,

    /** This may be another Redis than before, or one that has lost what it acknowledged. */
    doubt (): void {
      if (performance.now() < forgotUntil) onOverflow()
      remember([])
      miss([...marked.keys()])
    }
  }
}
