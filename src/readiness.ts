import type { Db } from 'mongodb'
import { deadline } from './deadline.ts'

const PING_MS_MAX = 1_000

/** What /readyz and the metric `service_ready` mean by ready: requests can be served, which needs MongoDB and nothing else. */
export async function readinessOf (service: { db: Db, closing: boolean }): Promise<{ ready: boolean, mongodb: boolean }> {
  const mongodb = await service.db.command({ ping: 1 }, deadline(PING_MS_MAX)).then(() => true, () => false)
  return { ready: mongodb && !service.closing, mongodb }
}
