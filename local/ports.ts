import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import getPort, { clearLockedPorts } from 'get-port'
import { claim } from './claims.ts'

/**
 * Where to look when the preferred ports are taken. Below the kernel's range for outgoing connections (from 32768 on):
 * while a part is down, a client that keeps dialling its port could otherwise be given that very port and connect to
 * itself.
 */
const RANDOM_PORT_MIN = 20_000
const RANDOM_PORT_MAX = 30_000
const RANDOM_PORTS = 50

/**
 * A port stays its part's while the part is down: it is to come back on it, and Kafka binds only seconds after it
 * started. So parts of other processes (tests run side by side) must see it taken, though nobody listens there.
 */
// By number: in a container a user often has no name, and Node's userInfo() fails for want of one.
const claimsDir = join(tmpdir(), `order-service-ports-${process.getuid?.() ?? 'user'}`)
const claims = new Map<number, { dir: string, release: () => void }>()

/**
 * For the part in `dir`: its ports of the last run, otherwise the preferred ones, otherwise any: what is free. Held
 * until `releasePorts`.
 */
export async function choosePorts (dir: string, preferred: number[], refused: Set<number>): Promise<number[]> {
  const remembered = readPorts(dir)
  const ports: number[] = []
  for (const [index, port] of preferred.entries()) {
    const random = Array.from(
      { length: RANDOM_PORTS },
      () => RANDOM_PORT_MIN + Math.floor(Math.random() * (RANDOM_PORT_MAX - RANDOM_PORT_MIN))
    )
    const candidates = [remembered[index] ?? port, port, ...random].filter((candidate) => !refused.has(candidate))
    ports.push(await firstFree(candidates, dir))
  }
  return ports
}

async function firstFree (candidates: number[], dir: string): Promise<number> {
  for (const port of candidates) {
    const claimed = claim(join(claimsDir, `${port}.json`))
    if ('owner' in claimed) continue
    // get-port refuses for 15 s what it gave away before; the claims do that work, and a part started again is to keep
    // its port.
    clearLockedPorts()
    if (await getPort({ port }) === port) {
      claims.set(port, { dir, release: claimed.release })
      return port
    }
    claimed.release()
  }
  throw new Error(`no free port for ${dir}`)
}

export function releasePorts (dir: string): void {
  for (const [port, claimed] of claims) {
    if (claimed.dir !== dir) continue
    claimed.release()
    claims.delete(port)
  }
}

const fileIn = (dir: string) => join(dir, 'ports.json')

export function rememberPorts (dir: string, ports: number[]): void {
  writeFileSync(fileIn(dir), JSON.stringify(ports))
}

function readPorts (dir: string): number[] {
  try {
    const ports: unknown = JSON.parse(readFileSync(fileIn(dir), 'utf8'))
    return Array.isArray(ports) ? ports.filter(Number.isInteger) : []
  } catch {
    return []
  }
}
