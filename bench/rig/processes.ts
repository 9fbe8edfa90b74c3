import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename, sep } from 'node:path'

export interface Process {
  pid: number
  group: number
  command: string
  /** Empty where only ps tells about processes. */
  cwd: string
}

/** All living processes; zombies have ended. */
function processes (): Process[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => fromProc(Number(pid)))
  }
  return execFileSync('ps', ['-axo', 'pid=,pgid=,stat=,command='], { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 })
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [pid, group, state, ...command] = line.trim().split(/\s+/)
      return state!.startsWith('Z')
        ? []
        : [{ pid: Number(pid), group: Number(group), command: command.join(' '), cwd: '' }]
    })
}

function fromProc (pid: number): Process[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return []
    return [
      {
        pid,
        group: Number(group),
        command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '),
        cwd: readlinkSync(`/proc/${pid}/cwd`)
      }
    ]
  } catch {
    return [] // it has just ended, or is another user's
  }
}

/** The parts that work in `dir`. Redis rewrites its command line, so where a process stands counts too. */
export function partsIn (dir: string): Process[] {
  return processes().filter(({ command, cwd }) => command.includes(dir + sep) || (cwd + sep).startsWith(dir + sep))
}

/** As "1 java, 1 mongod, 1 redis-server". */
export function countByName (found: Process[]): string {
  const names = found.map(({ command }) => basename(command.split(' ')[0]!)).sort()
  return (
    [...new Set(names)].map((name) => `${names.filter((other) => other === name).length} ${name}`).join(', ') || 'none'
  )
}

export function groupMembers (group: number): Process[] {
  return processes().filter((candidate) => candidate.group === group)
}

export function rssMegabytes (pid: number): number {
  if (process.platform !== 'linux') {
    return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024
  }
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) / 1024
}
