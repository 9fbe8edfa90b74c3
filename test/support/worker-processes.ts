import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { forkService, type ServiceProcess } from './faults.ts'
import { eventually, request } from '../helper.ts'

/** What tests of WORKERS > 1 need beside test/support/faults.ts. */
export const WORKERS = 2

/** As Linux tells it; none when the parent has ended. */
export function childrenOf ({ pid }: ServiceProcess): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}

/** Children that run the worker's entry, and not a local part. */
export function workersOf (service: ServiceProcess): number[] {
  return childrenOf(service).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('worker.js')
    } catch {
      return false
    }
  })
}

/** A zombie, whose parent has yet to ask for it, is not. */
export function isAlive (pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

export async function readyWorkers ({ operationsUrl }: ServiceProcess): Promise<number | undefined> {
  return ((await request(`${operationsUrl}/readyz`)).body.workers as { ready: number } | undefined)?.ready
}

/** A service of two workers, all of which are ready. No worker is left behind when the test ends. */
export async function startWorkers (t: Test, settings: Partial<Settings> = {}) {
  const service = await forkService(t, { WORKERS, ...settings })
  await eventually(async () => await readyWorkers(service) === WORKERS, 30_000, 'ready workers')
  const workers = workersOf(service)
  t.teardown(async () => {
    workers.push(...workersOf(service))
    await service.kill()
    await eventually(() => !workers.some(isAlive), 15_000, 'the end of the workers')
  })
  return { service, workers }
}
