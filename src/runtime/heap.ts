import { getHeapSpaceStatistics, getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/*
 * V8 ends the process when its old generation is full. The limit that it reports includes the young generation, which
 * is three semi-spaces: 16 MiB each up to Node 22, 64 MiB in Node 24 and 25, 32 MiB from Node 26 on, unless
 * --max-semi-space-size says otherwise.
 */
const MIB = 1_048_576
const node = Number.parseInt(process.version.slice(1))
const SEMI_SPACE_MIB = node >= 26 ? 32 : node >= 24 ? 64 : 16

/**
 * Bytes that the old generation may have.
 * @param flags what this Node was started with; the last one of a name counts, and 0 is V8's own choice
 */
export function oldGenerationOf (heapBytesMax: number, flags: string): number {
  const given = flags.matchAll(/--max[-_]semi[-_]space[-_]size[=\s]\s*(\d+)/g)
  const semiSpace = Number([...given].at(-1)?.[1] ?? 0) || SEMI_SPACE_MIB
  // A quarter where the guess is wrong all the same: less would refuse a healthy service's requests.
  return Math.max(heapBytesMax - 3 * semiSpace * MIB, heapBytesMax / 4)
}

export const oldGenerationMax = oldGenerationOf(
  getHeapStatistics().heap_size_limit, [process.env.NODE_OPTIONS, ...process.execArgv].join(' '))

/** With what is no longer used, but not yet collected. */
export function oldGenerationUsed (): number {
  const young = getHeapSpaceStatistics().filter(({ space_name: name }) => name.startsWith('new_'))
  return getHeapStatistics().used_heap_size - young.reduce((sum, { space_used_size: used }) => sum + used, 0)
}

/** Node hands it out only to contexts that are made after the flag is set. */
export function garbageCollector (): NodeJS.GCFunction {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as NodeJS.GCFunction
}
