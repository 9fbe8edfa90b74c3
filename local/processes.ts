import type { ChildProcess } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * A process, told apart from a later one that got the same pid by when it started. `folder` is that of the file that
 * names it: a copy of the folder, made while the process runs, names it too, and is none of its business.
 */
export interface Identity { pid: number, started: string, folder: string }

const POLL_MS = 20

/**
 * A server that has not ended this long after SIGTERM is killed. Kafka and mongod need 0.3–1 s, more after heavy
 * writes.
 */
export const TERM_LIMIT_MS = 8_000

/** After SIGKILL only the kernel is between us and the end; writing back a core of pages can still take a moment. */
export const KILL_LIMIT_MS = 5_000

/** When the process with this pid started; `undefined` when there is none or only a zombie is left of it. */
export function startedAt (pid: number): string | undefined {
  try {
    if (process.platform === 'linux') {
      // The name in brackets may hold anything, so the fields are counted from behind it: state is the 3rd of all,
      // starttime the 22nd.
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (fields[0] === 'Z' || fields[0] === 'X') return undefined
      // Ticks since boot: only together with the boot do they name one moment.
      return `${fields[19]}@${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()}`
    }
    const [state, ...started] = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore']
    })
      .trim()
      .split(/\s+/)
    return state?.startsWith('Z') ? undefined : started.join(' ') || undefined
  } catch {
    return undefined
  }
}

export function isAlive ({ pid, started }: Pick<Identity, 'pid' | 'started'>): boolean {
  return startedAt(pid) === started
}

/** A folder's own number, which it keeps when it is moved and a copy doesn't have. */
export function folderOf (file: string): string {
  const { dev, ino } = statSync(dirname(file))
  return `${dev}:${ino}`
}

/**
 * What a pid file says; `undefined` when there is none, an interrupted write left it unreadable, or it was copied with
 * its folder.
 */
export function readIdentity (file: string): Identity | undefined {
  try {
    const { pid, started, folder } = JSON.parse(readFileSync(file, 'utf8'))
    return Number.isInteger(pid) && typeof started === 'string' && folder === folderOf(file)
      ? { pid, started, folder }
      : undefined
  } catch {
    return undefined
  }
}

/** Synchronous, right after the spawn: a kill -9 in between would leave a server that nobody knows of. */
export function writeIdentity (file: string, pid: number): void {
  const started = startedAt(pid)
  if (started) writeFileSync(file, JSON.stringify({ pid, started, folder: folderOf(file) } satisfies Identity))
}

/**
 * Ends the server that a killed run left behind: its data may not have two masters. A stranger with its pid is left
 * alone.
 */
export async function endLeftover (file: string): Promise<void> {
  const leftover = readIdentity(file)
  if (leftover && isAlive(leftover)) {
    signal(leftover.pid, 'SIGTERM')
    signal(leftover.pid, 'SIGCONT') // a paused process doesn't see the SIGTERM otherwise
    if (!await gone(leftover, TERM_LIMIT_MS)) {
      signal(leftover.pid, 'SIGKILL')
      if (!(await gone(leftover, KILL_LIMIT_MS))) {
        throw new Error(`process ${leftover.pid} of an earlier run can't be ended: end it by hand`)
      }
    }
  }
  rmSync(file, { force: true })
}

async function gone (identity: Identity, limitMs: number): Promise<boolean> {
  for (const end = Date.now() + limitMs; Date.now() < end; await sleep(POLL_MS)) {
    if (!isAlive(identity)) return true
  }
  return !isAlive(identity)
}

export function signal (pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended by itself in the meantime.
  }
}

const running = new Set<ChildProcess>()

/** Kills `child` when this process exits, as a last resort for crashes; call the result once the child has ended. */
export function killAtExit (child: ChildProcess): () => void {
  if (running.size === 0) process.on('exit', killRunning)
  running.add(child)
  return () => {
    running.delete(child)
    if (running.size === 0) process.off('exit', killRunning)
  }
}

function killRunning () {
  for (const child of running) child.kill('SIGKILL')
}
