/**
 * A place in the topic: for each partition the offset of what comes next. As text it is the offsets, one after the
 * other as LEB128 (seven bits a byte, the lowest first), in base64url: three or four characters a partition.
 */
export type Position = number[]

export function encodePosition (position: Position): string {
  const bytes: number[] = []
  for (let partition = 0; partition < position.length; partition++) {
    let rest = position[partition] ?? 0 // of one that was added since, nothing was read
    while (rest >= 128) {
      bytes.push((rest % 128) + 128)
      rest = Math.floor(rest / 128)
    }
    bytes.push(rest)
  }
  return Buffer.from(bytes).toString('base64url')
}

/** @returns undefined for what `encodePosition` can't have made */
export function decodePosition (text: string): Position | undefined {
  const position: Position = []
  let offset = 0
  let unit = 1
  for (const byte of Buffer.from(text, 'base64url')) {
    offset += (byte % 128) * unit
    unit *= 128
    if (offset > Number.MAX_SAFE_INTEGER) return undefined
    if (byte >= 128) continue
    position.push(offset)
    offset = 0
    unit = 1
  }
  return encodePosition(position) === text ? position : undefined
}

/** The partitions in which one place is before the other. */
export function behind (position: Position, other: Position): number[] {
  return [...other.keys()].filter((partition) => (position[partition] ?? 0) < other[partition]!)
}

/** Whether one place is before the other in no partition. */
export function isAtOrAfter (position: Position, other: Position): boolean {
  return other.every((offset, partition) => (position[partition] ?? 0) >= offset)
}
