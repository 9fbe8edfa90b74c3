import { execFile, type ExecFileException } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import type { Bench, Scenario } from '../check/findings.ts'
import { startService } from '../rig/service.ts'

/** Of 4 November 2026, MIT; newer ones may check more. */
const VERSION = '4.32.5'
const EXAMPLES = 200
const SEEDS = [1, 2, 3]
const RUN_MS_MAX = 300_000
const INSTALL_MS_MAX = 300_000

const execute = promisify(execFile)

/**
 * Schemathesis makes requests out of the OpenAPI document, valid ones and others, and walks its links, and holds each
 * answer to what the document says.
 */
async function run ({ dir, figure, detail, expect }: Bench): Promise<void> {
  const command = await install()
  await mkdir(dir, { recursive: true })
  // It reads an answer to its end, which the live feed's has not: what is right and wrong of its requests is checked.
  const service = await startService(dir, { ORDER_INDEXES: 'all', ETAG: 'on', FEED_CLIENTS_MAX: '0' })
  for (const seed of SEEDS) {
    const { code, output } = await fuzz(command, dir, [
      'run', `${service.url}/openapi.json`, '--checks', 'all', '--max-examples', String(EXAMPLES), '--seed', String(seed),
      '--continue-on-failure', '--generation-database', 'none', '--no-color'
    ])
    const [, cases] = /(\d+ generated, .*)/.exec(output) ?? []
    figure(`seed ${seed}: ${cases ?? 'no result'}`)
    expect(code === 0, `seed ${seed} found something`)
    if (code !== 0) for (const line of output.split('\n')) detail(line)
  }
  await service.stop()
}

/** In a virtual environment of its own. @returns its command */
async function install (): Promise<string> {
  const folder = join(homedir(), '.cache', 'order-service', `schemathesis-${VERSION}`)
  const command = join(folder, 'bin', 'schemathesis')
  if (existsSync(command)) return command
  const options = { timeout: INSTALL_MS_MAX }
  try {
    await execute('python3', ['-m', 'venv', folder], options)
    await execute(join(folder, 'bin', 'pip'), ['install', '--quiet', `schemathesis==${VERSION}`], options)
  } catch (cause) {
    await rm(folder, { recursive: true, force: true })
    throw new Error(`Schemathesis needs Python 3.11 or later with venv: ${(cause as Error).message}`, { cause })
  }
  return command
}

/** @param cwd it leaves a folder there */
async function fuzz (command: string, cwd: string, args: string[]): Promise<{ code: number, output: string }> {
  const env = {
    ...process.env,
    SCHEMATHESIS_HOOKS: 'hooks',
    PYTHONPATH: resolve('bench', 'prove', 'schemathesis'),
    PYTHONDONTWRITEBYTECODE: '1'
  }
  try {
    const { stdout } = await execute(command, args, { cwd, env, timeout: RUN_MS_MAX, maxBuffer: 64 * 1024 * 1024 })
    return { code: 0, output: stdout }
  } catch (error) {
    const { code, stdout, stderr } = error as ExecFileException & { stdout: string, stderr: string }
    if (typeof code !== 'number') throw error
    return { code, output: stdout + stderr }
  }
}

const title = `Schemathesis ${VERSION}, all checks, ${EXAMPLES} examples an operation`
export default { name: 'fuzz', title, run } satisfies Scenario
