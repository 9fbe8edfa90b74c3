import { readFileSync } from 'node:fs'

/** USER_HZ: what Linux counts in, whatever the kernel's own clock is. */
const TICKS_PER_SECOND = 100

/** Seconds of CPU that a process has taken, all its threads together. NaN where there is no /proc. */
export function cpuSeconds (pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return NaN
  }
}

/** The most memory that a process has ever held, in MiB. NaN where there is no /proc. */
export function peakRssMegabytes (pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) / 1024
  } catch {
    return NaN
  }
}
