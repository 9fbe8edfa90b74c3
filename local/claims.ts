import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type Identity, folderOf, isAlive, readIdentity, startedAt } from './processes.ts'

/** Rounds of taking over from a dead owner, because several may try at once and see each other's halves. */
const TRIES = 5

/** Makes this process the only one that runs parts in `dir`, or throws who does. Returns how to give it up. */
export function ownDir (dir: string): () => void {
  const claimed = claim(join(dir, 'owner.json'))
  if ('owner' in claimed) {
    throw new Error(
      `process ${claimed.owner.pid} already runs the local parts in ${resolve(dir)}: stop it, or set LOCAL_DIR to another folder`
    )
  }
  return claimed.release
}

/**
 * Makes this process the owner of what `file` stands for until it releases it or ends; otherwise names the living
 * owner.
 */
export function claim (file: string): { release: () => void } | { owner: Identity } {
  mkdirSync(dirname(file), { recursive: true })
  const self = { pid: process.pid, started: startedAt(process.pid) ?? '', folder: folderOf(file) } satisfies Identity
  const mine = `${file}.${process.pid}`
  for (let tries = 1; tries <= TRIES; tries++) {
    writeFileSync(mine, JSON.stringify(self))
    try {
      // Unlike a rename it never replaces, and unlike an exclusive open it never shows an empty file.
      linkSync(mine, file)
      return { release: () => { if (readIdentity(file)?.pid === process.pid) rmSync(file, { force: true }) } }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      rmSync(mine, { force: true })
    }
    const owner = readIdentity(file)
    if (owner && isAlive(owner)) return { owner }
    removeDead(file)
  }
  throw new Error(`${file} can't be taken over: remove it`)
}

/** Renames before it removes: if another process took over in between, the file is its, and goes back. */
function removeDead (file: string) {
  const aside = `${file}.dead.${process.pid}`
  try {
    const before = readFileSync(file, 'utf8')
    renameSync(file, aside)
    if (readFileSync(aside, 'utf8') !== before) linkSync(aside, file)
  } catch {
    // Another process was faster; the next round sees what it left.
  } finally {
    rmSync(aside, { force: true })
  }
}
