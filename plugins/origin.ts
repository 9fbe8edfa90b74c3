import { randomBytes } from 'node:crypto'
import fp from 'fastify-plugin'
import type { Timestamp } from 'mongodb'
import { originName, RELAY_COLLECTION, type OriginDocument } from '../src/mongo/lease.ts'

declare module 'fastify' {
  interface FastifyInstance { origin: Origin }
}

export interface Origin {
  /** The cluster's time before the first order of this service. */
  operationTime: Timestamp
  /** Tells these orders from those of another MongoDB that publishes to the same topic, or uses the same Redis. */
  source: string
  /** Stores it again where the database was dropped. @throws where another process has begun anew meanwhile */
  keep: () => Promise<void>
}

const SOURCE_BYTES = 6

/**
 * Stored before the first request is served: if Kafka is down at the very first start, it says where the first relay
 * begins.
 */
export default fp(async (app) => {
  const known = await ensureOrigin()
  app.decorate('origin', {
    operationTime: known.operationTime,
    source: known.source,
    async keep () {
      if ((await ensureOrigin(known)).source !== known.source) {
        throw new Error(
          'the database was dropped, and another process has begun anew with it: start this process again'
        )
      }
    }
  })

  async function ensureOrigin (known?: OriginDocument): Promise<OriginDocument> {
    const { operationTime, source = randomBytes(SOURCE_BYTES).toString('hex') } =
      known ?? await app.db.command({ ping: 1 }) as { operationTime: Timestamp, source?: string }
    const orElse = (field: string, value: unknown) => ({ $ifNull: [field, value] })
    return (await app.db.collection<OriginDocument>(RELAY_COLLECTION).findOneAndUpdate(
      { _id: originName(app.settings.KAFKA_TOPIC) },
      [{ $set: { operationTime: orElse('$operationTime', operationTime), source: orElse('$source', source) } }],
      { upsert: true, returnDocument: 'after', writeConcern: { w: 'majority' } }))!
  }
}, { name: 'origin', dependencies: ['settings', 'mongo'] })
