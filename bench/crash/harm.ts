import type { Part } from '../../local/index.ts'
import type { Cluster } from '../rig/cluster.ts'
import type { Random } from '../clients/random.ts'
import type { Replica, Replicas } from '../rig/replicas.ts'

export interface Target { cluster: Cluster, replicas: Replicas, random: Random }

export interface Fault {
  name: string
  title: string
  /** How often it comes in a long campaign. */
  often: number
  /** How often it comes in a round: once, if it isn't said. */
  perRound?: number
  /** How long it lasts. */
  holdMs: number
  /** It needs so many brokers. */
  brokersMin?: number
  /** @returns what ends it */
  inject: (target: Target) => Promise<() => Promise<void>>
}

/** Above the relay's lease (5 s) and the election time-out: who wakes up after it has a successor. */
export const ZOMBIE_MS = 8_000
export const OUTAGE_MS = 3_000

export const nothing = async (): Promise<void> => {}

export async function kill (part: Part): Promise<() => Promise<void>> {
  await part.kill()
  return () => part.start()
}

export async function pause (part: Part): Promise<() => Promise<void>> {
  part.pause()
  return async () => part.resume()
}

export async function killReplica (replica: Replica): Promise<() => Promise<void>> {
  await replica.kill()
  return () => replica.start()
}

/** Several harms at the same moment. */
export async function together (harms: Promise<() => Promise<void>>[]): Promise<() => Promise<void>> {
  const ends = await Promise.all(harms)
  return async () => { await Promise.all(ends.map((end) => end())) }
}
