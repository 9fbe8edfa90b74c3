import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** For each byte of a chunk there are two more, read from MongoDB and copied by its driver. A collection takes some 0.8 ms. */
const BYTES_MAX = 1_048_576

/**
 * For whoever fills one Buffer after another and makes little else. V8 collects the young generation when objects fill it; what Buffers
 * hold lies outside of it, but counts for the limit of the whole heap. So it would collect the whole heap, 3 to 7 ms each time and up to
 * 11 times a second, for Buffers that were dropped long ago. To collect the young ones in time halves the p99 of what else is asked
 * during a list (docs/performance.md).
 * @returns to be told of each Buffer's bytes
 */
export function createYoungGarbage (): (bytes: number) => void {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as NodeJS.GCFunction // the flag shows in contexts that are made after it
  let filled = 0
  return (bytes) => {
    filled += bytes
    if (filled < BYTES_MAX) return
    filled = 0
    collect({ type: 'minor' })
  }
}
