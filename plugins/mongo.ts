import mongodb from '@fastify/mongodb'
import fp from 'fastify-plugin'
import { MongoClient, MongoServerError, MongoServerSelectionError, type Collection, type Db } from 'mongodb'
import { ConnectionString } from 'mongodb-connection-string-url'
import { within } from '../src/deadline.ts'
import { StartupError } from '../src/errors.ts'
import { IDEMPOTENCY_INDEX } from '../src/idempotency.ts'
import type { OrderDocument } from '../src/models.ts'

declare module 'fastify' {
  interface FastifyInstance {
    db: Db
    /** Connections by now. */
    mongoPool: { open: number, inUse: number }
    ordersCollection: Collection<OrderDocument>
  }
}

const DATABASE = 'orders'
export const COLLECTION = 'orders'
/** How long a start waits for a MongoDB that isn't there yet, and any later command for a primary. */
const SERVER_SELECTION_MS_MAX = 10_000
/**
 * How soon the driver looks again at a server that it has given up, unless that server tells by itself. Until then nothing is
 * sent to it, and the driver's 10 s are as long as an order may take.
 */
const HEARTBEAT_MS = 2_000
/** A last bound for whatever has no deadline of its own: above all that is waited for on purpose. */
const SOCKET_MS_MAX = 45_000
/** There is nothing left to be said to MongoDB then; one that hangs must not hold the end up. */
const CLOSE_MS_MAX = 2_000
/** Inserts and reads need six, each change stream one, and each list that is being read one from time to time. */
const POOL_MAX = 50

/** MongoDB: a replica set, as change streams and majority writes need one. */
export default fp(async (app) => {
  const url = app.settings.MONGO_URL
  const database = databaseOf(url)
  try {
    // Its own client, as the pool is watched from its first connection on.
    const client = createMongoClient(url)
    app.decorate('mongoPool', watchPool(client))
    app.addHook('onClose', async () => {
      await within(CLOSE_MS_MAX, 'the end of the connections to MongoDB', client.close(true)).catch((error) => app.log.warn({ reason: error.message }, 'MongoDB was left behind'))
    })
    await client.connect()
    await app.register(mongodb, { client, database })
    app.decorate('db', app.mongo.db!)
    const { setName, msg } = await app.db.command({ hello: 1 })
    if (setName === undefined && msg !== 'isdbgrid') {
      throw new StartupError('MongoDB in MONGO_URL runs alone, but orders need a replica set (one node is enough): start mongod with --replSet rs0 and run rs.initiate() once')
    }
    await prepareOrders(app.db)
  } catch (error) {
    throw explain(error as Error, url)
  }
  app.decorate('ordersCollection', app.db.collection<OrderDocument>(COLLECTION))
}, { name: 'mongo', dependencies: ['settings', 'local-parts'] })

/** The collection of orders and its index, if they aren't there. */
export async function prepareOrders (db: Db): Promise<void> {
  await db.createCollection(COLLECTION).catch(ignoreExisting)
  await db.collection(COLLECTION).createIndex(IDEMPOTENCY_INDEX.key, IDEMPOTENCY_INDEX.options)
}

/** It connects nowhere by itself. */
export function createMongoClient (url: string): MongoClient {
  return new MongoClient(url, {
    appName: 'order-service',
    serverSelectionTimeoutMS: SERVER_SELECTION_MS_MAX,
    connectTimeoutMS: SERVER_SELECTION_MS_MAX,
    heartbeatFrequencyMS: HEARTBEAT_MS,
    socketTimeoutMS: SOCKET_MS_MAX,
    maxPoolSize: POOL_MAX
  })
}

export function databaseOf (url: string): string {
  return decodeURIComponent(new ConnectionString(url).pathname.slice(1)) || DATABASE
}

function watchPool (client: MongoClient): { open: number, inUse: number } {
  const pool = { open: 0, inUse: 0 }
  client.on('connectionCreated', () => { pool.open++ })
  client.on('connectionClosed', () => { pool.open-- })
  client.on('connectionCheckedOut', () => { pool.inUse++ })
  client.on('connectionCheckedIn', () => { pool.inUse-- })
  return pool
}

const NAMESPACE_EXISTS = 48
const AUTHENTICATION_FAILED = 18
const UNAUTHORIZED = 13

function ignoreExisting (error: unknown): void {
  if (!(error instanceof MongoServerError && error.code === NAMESPACE_EXISTS)) throw error
}

/** In one line what is wrong with the MongoDB at `url`. */
export function explain (error: Error, url: string): Error {
  if (error instanceof StartupError) return error
  const { hosts, searchParams } = new ConnectionString(url)
  const place = hosts.join(',')
  if (error instanceof MongoServerError && (error.code === AUTHENTICATION_FAILED || (error.code === UNAUTHORIZED && error.message.includes('requires authentication')))) {
    return new StartupError(`MongoDB at ${place} refused the user of MONGO_URL: ${error.message.replace(/\.$/, '')}. Check user, password and authSource`, { cause: error })
  }
  if (error instanceof MongoServerError && error.code === UNAUTHORIZED) {
    return new StartupError(`MongoDB at ${place} does not let the user of MONGO_URL do what the service needs: ${error.message.replace(/\.$/, '')}. The rights are listed in docs/kafka.md, "Rights in MongoDB"`, { cause: error })
  }
  if (error instanceof MongoServerSelectionError) {
    const set = searchParams.get('replicaSet')
    const hint = set === null ? 'is it running, and MONGO_URL right?' : `is it running, as a member of the replica set ${set} that was initiated?`
    return new StartupError(`MongoDB at ${place} could not be used within ${SERVER_SELECTION_MS_MAX / 1000} s: ${hint} (${error.message})`, { cause: error })
  }
  return new StartupError(`MongoDB at ${place}: ${error.message}`, { cause: error })
}
