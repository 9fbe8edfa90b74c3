import { garbageCollector } from './heap.ts'

/**
 * For each byte of a chunk there are two more, read from MongoDB and copied by its driver. A collection takes some 0.8
 * ms.
 */
const BYTES_MAX = 1_048_576

/**
 * For code that allocates many Buffers and few objects. V8 collects the young generation when objects fill it; what
 * Buffers hold lies outside of it, but counts for the limit of the whole heap. So it would collect the whole heap, 3 to
 * 7 ms each time and up to 11 times a second, for Buffers that were dropped long ago. Collecting the young ones in time
 * halves the p99 of other requests during a list (docs/explanation/reads.md).
 * @returns a function to call with each Buffer's bytes
 */
export function createMinorGc (): (bytes: number) => void {
  const collect = garbageCollector()
  let filled = 0
  return (bytes) => {
    filled += bytes
    if (filled < BYTES_MAX) return
    filled = 0
    collect({ type: 'minor' })
  }
}
