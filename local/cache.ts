import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Env } from './run.ts'

/** A download that old was interrupted; no living one takes so long. */
const INTERRUPTED_AFTER_MS = 60 * 60_000

/**
 * The folder `<name>` of the per-user cache, filled by `fill` when it isn't there.
 * It is filled beside its place and renamed: neither an interruption nor two runs at once leave half a folder.
 */
export async function cachedFolder (name: string, env: Env, fill: (into: string) => Promise<void>): Promise<string> {
  const cache = join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache'), 'order-service')
  // Machines of different kinds may share one home directory.
  const folder = join(cache, `${name}-${process.platform}-${process.arch}`)
  if (existsSync(folder)) return folder
  await mkdir(cache, { recursive: true })
  await removeInterrupted(cache)
  const unfinished = await mkdtemp(join(cache, 'unfinished-'))
  try {
    await fill(unfinished)
    await rename(unfinished, folder)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    if (!existsSync(folder)) throw error // else another run was faster
  }
  return folder
}

async function removeInterrupted (cache: string) {
  for (const name of await readdir(cache)) {
    const path = join(cache, name)
    if (!name.startsWith('unfinished-')) continue
    const changed = await stat(path).catch(() => undefined)
    if (changed && Date.now() - changed.mtimeMs > INTERRUPTED_AFTER_MS) await rm(path, { recursive: true, force: true })
  }
}
