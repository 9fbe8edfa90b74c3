import mongodb from '@fastify/mongodb'
import fp from 'fastify-plugin'
import type { Collection, Db, MongoClient } from 'mongodb'
import { within } from '../src/runtime/deadline.ts'
import type { OrderDocument } from '../src/models.ts'
import { createMongoClient, databaseOf, ignoredOptions } from '../src/mongo/client.ts'
import { explainMongo } from '../src/mongo/reasons.ts'
import { COLLECTION, waitForMongo } from '../src/mongo/start.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    /** Connections by now. */
    mongoPool: { open: number, inUse: number }
    ordersCollection: Collection<OrderDocument>
  }
}

/** There is nothing left to be said to MongoDB then; one that hangs must not hold the end up. */
const CLOSE_MS_MAX = 2_000

/** MongoDB: a replica set, as change streams and majority writes need one. */
export default fp(async (app) => {
  const { log, settings: { MONGO_URL: url } } = app
  const [client, database] = open(url)
  const ignored = ignoredOptions(url)
  if (ignored.length > 0) {
    log.warn(
      { options: ignored },
      "these options of MONGO_URL don't count: orders are written to a majority, and what decides is read from the primary"
    )
  }
  app.decorate('mongoPool', watchPool(client))
  app.addHook('onClose', async () => {
    await within(CLOSE_MS_MAX, 'the end of the connections to MongoDB', client.close(true)).catch((error) =>
      log.warn({ reason: error.message }, 'gave up waiting for MongoDB connections to close')
    )
  })
  await waitForMongo({ client, database, url, log })
  await app.register(mongodb, { client, database })
  app.decorate('db', app.mongo.db!)
  app.decorate('ordersCollection', app.db.collection<OrderDocument>(COLLECTION))
}, { name: 'mongo', dependencies: ['settings', 'local-parts'] })

/** Its own client, as the pool is watched from its first connection on. */
function open (url: string): [MongoClient, database: string] {
  try {
    return [createMongoClient(url), databaseOf(url)]
  } catch (error) {
    throw explainMongo(error as Error, url)
  }
}

function watchPool (client: MongoClient): { open: number, inUse: number } {
  const pool = { open: 0, inUse: 0 }
  client.on('connectionCreated', () => { pool.open++ })
  client.on('connectionClosed', () => { pool.open-- })
  client.on('connectionCheckedOut', () => { pool.inUse++ })
  client.on('connectionCheckedIn', () => { pool.inUse-- })
  return pool
}
