import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import getPort, { clearLockedPorts } from 'get-port'

/**
 * Where to look when the preferred ports are taken. Below the kernel's range for outgoing connections (from 32768 on):
 * while a part is down, a client that keeps dialling its port could otherwise be given that very port and connect to itself.
 */
const RANDOM_PORT_MIN = 20_000
const RANDOM_PORT_MAX = 30_000
const RANDOM_PORTS = 50

/** Ports of this process's parts and the folder of each, also while a part is down: it is to come back on its port. */
const taken = new Map<number, string>()

/** For the part in `dir`: its ports of the last run, else the preferred ones, else any: what is free. Held until `releasePorts`. */
export async function choosePorts (dir: string, preferred: number[], refused: Set<number>): Promise<number[]> {
  const remembered = readPorts(dir)
  const ports: number[] = []
  for (const [index, port] of preferred.entries()) {
    const random = Array.from({ length: RANDOM_PORTS }, () => RANDOM_PORT_MIN + Math.floor(Math.random() * (RANDOM_PORT_MAX - RANDOM_PORT_MIN)))
    const candidates = [remembered[index] ?? port, port, ...random].filter((candidate) => !taken.has(candidate) && !refused.has(candidate))
    // get-port refuses for 15 s what it once gave away, but a part started again is to keep its port; `taken` does that work here.
    clearLockedPorts()
    const chosen = await getPort({ port: candidates })
    taken.set(chosen, dir)
    ports.push(chosen)
  }
  return ports
}

export function releasePorts (dir: string): void {
  for (const [port, holder] of taken) {
    if (holder === dir) taken.delete(port)
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
