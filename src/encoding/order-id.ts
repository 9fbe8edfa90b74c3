/* An order's id in hex: an ObjectId, which begins with the second in which it was made. */

/** An id from further ahead than this is of a clock that is wrong, and says nothing about now. */
export const AHEAD_SECONDS_MAX = 60

/** An order may be inserted so long after its id was made. */
export const INSERT_SECONDS_MAX = 15

export function isOrderId (text: string): boolean {
  return /^[0-9a-f]{24}$/.test(text)
}

/** The time in an order's id, in ms since 1970. */
export function msOf (id: string): number {
  return Number.parseInt(id.slice(0, 8), 16) * 1000
}

/** The least id of a second. */
export function firstIdOf (seconds: number): string {
  return Math.min(Math.max(0, Math.floor(seconds)), 0xffffffff).toString(16).padStart(8, '0') + '0'.repeat(16)
}
