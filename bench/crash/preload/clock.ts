/**
 * Loaded before the service (`node --import`): its wall clock is ahead, by an hour or by `?aheadMs=` of the import,
 * which may be negative.
 */
const AHEAD_MS = Number(new URL(import.meta.url).searchParams.get('aheadMs') ?? 3_600_000)

const now = Date.now
globalThis.Date = class extends Date {
  constructor (...args: [] | [number]) {
    if (args.length === 0) super(now() + AHEAD_MS)
    else super(...args)
  }

  static override now (): number {
    return now() + AHEAD_MS
  }
} as DateConstructor
