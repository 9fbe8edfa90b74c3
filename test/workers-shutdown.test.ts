import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { connectMongo, forkService, leads, startPosting, storedIds, type ServiceProcess } from './faults.ts'
import { failingStart } from './forked-service.ts'
import { eventually, newNamespace, parts, settingsFor } from './helper.ts'

const WORKERS = 2

function workersOf ({ pid }: ServiceProcess): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}

function isAlive (pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
