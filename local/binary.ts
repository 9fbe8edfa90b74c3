import { type Env, run } from './run.ts'

interface BinarySearch {
  env: Env
  /** Paths, or names to look up on the PATH, the most explicit first. */
  candidates: (string | undefined)[]
  /**
   * Tried in turn when no candidate will do; each resolves to the path of what it found in the cache or fetched into
   * it.
   */
  sources: (() => Promise<string>)[]
  versionArgs: string[]
  /** Captures the major version. */
  versionPattern: RegExp
  versionMin: number
}

/** Long enough for the first start of a JVM on a cold disk. */
const VERSION_LIMIT_MS = 20_000

export interface Binary {
  file: string
  /** All that it prints when asked for its version. */
  version: string
}

/** The first binary that runs here and is new enough. Rejects with what was wrong with each source. */
export async function findBinary (search: BinarySearch): Promise<Binary> {
  for (const candidate of search.candidates) {
    const binary = candidate && await check(candidate, search).catch(() => undefined)
    if (binary) return binary
  }
  const defects: string[] = []
  for (const source of search.sources) {
    try {
      return await check(await source(), search)
    } catch (error) {
      defects.push((error as Error).message)
    }
  }
  throw new Error(defects.join('; '))
}

async function check (file: string, { env, versionArgs, versionPattern, versionMin }: BinarySearch): Promise<Binary> {
  const version = await run(file, versionArgs, { env, limitMs: VERSION_LIMIT_MS })
  const major = versionPattern.exec(version)?.[1]
  if (!(Number(major) >= versionMin)) {
    throw new Error(`${file} is of version ${major ?? 'unknown'}, not ${versionMin} or later`)
  }
  return { file, version }
}
