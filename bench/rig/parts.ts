import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MongoClient } from 'mongodb'
import { BROKER_FOLDERS } from '../../local/kafka-cluster.ts'
import { startLocalParts, type LocalParts, type LocalPartsOptions } from '../../local/index.ts'
import { endLeftover } from '../../local/processes.ts'
import type { OrderDocument } from '../../src/models.ts'

/** What must have ended when a scenario has, however that ends. The last is ended first. */
const ends: (() => Promise<unknown>)[] = []

export function atEnd (end: () => Promise<unknown>): void {
  ends.push(end)
}

export async function endAll (): Promise<void> {
  for (let end = ends.pop(); end !== undefined; end = ends.pop()) await end().catch(() => {})
}

/**
 * Those that a service left behind when it was killed. They are known by pid and start time, so nobody else's are
 * ended.
 */
export async function endPartsIn (dir: string): Promise<void> {
  const brokers = ['kafka', ...BROKER_FOLDERS.map((broker) => join('cluster', broker))].map((part) =>
    join('brokers', part)
  )
  const parts = ['mongo', 'mongo-0', 'mongo-1', 'mongo-2', 'redis', 'kafka', ...brokers]
  await Promise.all(parts.map((part) => endLeftover(join(dir, part, 'pid.json'))))
}

/** Parts of the driver's own, for a service that is given URLs. */
export async function startParts (options: LocalPartsOptions): Promise<LocalParts> {
  const local = await startLocalParts({ progress: 'silent', ...options })
  atEnd(() => local.stop())
  if (local.missing.length > 0) throw new Error(local.missing.map(({ reason }) => reason).join('; '))
  return local
}

/** Where the parts listen that a service has started in `dir`. */
export function addressesIn (dir: string): { mongoUrl: string, brokers: string } {
  const port = (part: string): number => JSON.parse(readFileSync(join(dir, part, 'ports.json'), 'utf8'))[0]
  return {
    mongoUrl: `mongodb://127.0.0.1:${port('mongo')}/?directConnection=true`,
    brokers: `127.0.0.1:${port('kafka')}`
  }
}

export async function withOrders<T> (
  mongoUrl: string,
  use: (collection: ReturnType<typeof ordersOf>) => Promise<T>
): Promise<T> {
  const client = new MongoClient(mongoUrl)
  try {
    return await use(ordersOf(client))
  } finally {
    await client.close()
  }
}

function ordersOf (client: MongoClient) {
  return client.db('orders').collection<OrderDocument>('orders')
}
