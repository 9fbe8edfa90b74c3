import { execFile } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import { GO_BINARY } from './contestants.ts'

/** The first build fetches and compiles some twenty modules. */
const BUILD_MS_MAX = 5 * 60_000

/** @returns why there is no Go contestant, or undefined when there is one */
export async function buildGo (): Promise<string | undefined> {
  const file = resolve(GO_BINARY)
  mkdirSync(dirname(file), { recursive: true })
  try {
    await promisify(execFile)('go', ['build', '-o', file, '.'], {
      cwd: resolve('bench', 'peers', 'go'),
      timeout: BUILD_MS_MAX
    })
  } catch (error) {
    const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string }
    return code === 'ENOENT'
      ? 'there is no go on the PATH'
      : `it could not be built: ${stderr?.trim().split('\n').at(-1) ?? (error as Error).message}`
  }
}
