import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import type { Env } from './run.ts'

/** A download that old was interrupted; no living one takes so long. */
const INTERRUPTED_AFTER_MS = 60 * 60_000

/**
 * The folder `<name>` of the per-user cache, filled by `fill` when it isn't there.
 * It is filled beside its place and renamed: neither an interruption nor two runs at once leave half a folder.
 */
export async function cachedFolder (name: string, env: Env, fill: (into: string) => Promise<void>): Promise<string> {
  const caches = cachesOf(env)
  // Machines of different kinds may share one home directory.
  const key = `${name}-${process.platform}-${process.arch}`
  const filled = caches.find((cache) => existsSync(join(cache, key)))
  if (filled !== undefined) return join(filled, key)
  const cache = caches.find(isWritable)
  if (cache === undefined) {
    throw new Error(`none of ${caches.join(', ')} can be written: set XDG_CACHE_HOME to a folder that can`)
  }
  const folder = join(cache, key)
  await removeInterrupted(cache)
  const unfinished = await mkdtemp(join(cache, 'unfinished-'))
  try {
    await fill(unfinished)
    await rename(unfinished, folder)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    if (!existsSync(folder)) throw error // otherwise another run was faster
  }
  return folder
}

/** The last one is for a user without a home, or with one that can't be written, as in many a container. */
function cachesOf ({ XDG_CACHE_HOME = '', HOME = '', TMPDIR = tmpdir() }: Env): string[] {
  return [
    // Others are to be ignored, says its specification.
    ...(isAbsolute(XDG_CACHE_HOME) ? [join(XDG_CACHE_HOME, 'order-service')] : []),
    ...(isAbsolute(HOME) ? [join(HOME, '.cache', 'order-service')] : []),
    join(TMPDIR, `order-service-cache-${process.getuid?.() ?? 'user'}`)
  ]
}

function isWritable (folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

async function removeInterrupted (cache: string) {
  for (const name of await readdir(cache)) {
    const path = join(cache, name)
    if (!name.startsWith('unfinished-')) continue
    const changed = await stat(path).catch(() => undefined)
    if (changed && Date.now() - changed.mtimeMs > INTERRUPTED_AFTER_MS) await rm(path, { recursive: true, force: true })
  }
}
