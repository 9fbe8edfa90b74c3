import { setTimeout as delay } from 'node:timers/promises'
import { MongoServerError, type Db, type MongoClient, type RunCommandOptions } from 'mongodb'
import { StartupError } from '../errors.ts'
import { IDEMPOTENCY_INDEX } from '../models.ts'
import type { Logger } from '../runtime/logger.ts'
import { createThrottle } from '../runtime/throttle.ts'
import { explainMongo, passesWithTime } from './reasons.ts'
import { checkRights, isForbidden, missingRights } from './rights.ts'

export const COLLECTION = 'orders'

const RETRY_MS = 1_000
/** A start that waits says so from time to time. */
const PROGRESS_MS = 15_000

/** The driver takes it for each command, though its types don't know it. */
const WITHOUT_TIMEOUT = { socketTimeoutMS: 0 }

const NAMESPACE_EXISTS = 48
/** `hint` names an index that isn't there. */
const BAD_VALUE = 2

/**
 * Waits until MongoDB is there and has what the service needs, which may be long after it: in a cluster that starts as
 * a whole, during an election, or while an index is built.
 * @throws StartupError for what waiting doesn't mend
 */
export async function waitForMongo ({ client, database, url, log }: {
  client: MongoClient, database: string, url: string, log: Logger
}): Promise<void> {
  const progress = createThrottle(PROGRESS_MS)
  for (;;) {
    try {
      await client.connect()
      const db = client.db(database)
      await checkDeployment(db)
      await checkRights(db)
      await prepareOrders(db, log)
      return
    } catch (error) {
      if (!passesWithTime(error)) throw explainMongo(error as Error, url)
      if (progress.allows()) {
        log.warn({ reason: explainMongo(error as Error, url).message }, 'the start waits for MongoDB')
      }
    }
    await delay(RETRY_MS)
  }
}

async function checkDeployment (db: Db): Promise<void> {
  const { setName, msg, secondary } = await db.command({ hello: 1 })
  if (msg === 'isdbgrid') {
    throw new StartupError(
      'MONGO_URL leads to a mongos, but the service works on a replica set only: a sharded cluster was never tried (docs/explanation/beyond-one-machine.md, "Cells")'
    )
  }
  if (setName === undefined) {
    throw new StartupError(
      'MongoDB in MONGO_URL runs alone, but orders need a replica set (one node is enough): start mongod with --replSet rs0 and run rs.initiate() once'
    )
  }
  if (secondary === true) {
    throw new StartupError(
      'MONGO_URL connects directly to a secondary, which takes no orders: leave directConnection out, and name the members of the replica set'
    )
  }
}

/** The collection of orders and its index, if they aren't there. Whoever may not create them may use those that are. */
export async function prepareOrders (db: Db, log: Logger): Promise<void> {
  try {
    await db.createCollection(COLLECTION).catch((error) => {
      if (!(error instanceof MongoServerError && error.code === NAMESPACE_EXISTS)) throw error
    })
    const { key, options } = IDEMPOTENCY_INDEX
    const began = performance.now()
    const progress = setInterval(() => {
      log.warn(
        { seconds: Math.round((performance.now() - began) / 1000) },
        'the start waits for MongoDB to build the index of Idempotency-Keys'
      )
    }, PROGRESS_MS)
    // No time-out: on a large collection of an older service it takes as long as it takes.
    const command = { createIndexes: COLLECTION, indexes: [{ key, ...options }], writeConcern: { w: 'majority' } }
    await db.command(command, WITHOUT_TIMEOUT as RunCommandOptions)
      .finally(() => clearInterval(progress))
  } catch (error) {
    if (!isForbidden(error)) throw error
    if (!(await hasIndex(db))) {
      throw missingRights(db, [{ collection: COLLECTION, actions: ['createCollection', 'createIndex'] }])
    }
  }
  await warnOfForeignIndexes(db, log)
}

/** Without a right but `find`: a hint must name an index. */
async function hasIndex (db: Db): Promise<boolean> {
  try {
    const { options } = IDEMPOTENCY_INDEX
    await db
      .collection(COLLECTION)
      .findOne({ userId: '', 'idempotency.key': { $exists: true } }, { hint: options.name, readPreference: 'primary' })
    return true
  } catch (error) {
    if (error instanceof MongoServerError && error.code === BAD_VALUE) return false
    throw error
  }
}

/**
 * Orders have none of an older service's fields, and the second one without a field is a duplicate to a unique index on
 * it.
 */
async function warnOfForeignIndexes (db: Db, log: Logger): Promise<void> {
  const indexes = await db.collection(COLLECTION).indexes().catch(() => []) // it may be forbidden
  const foreign = indexes
    .filter(({ name, unique }) => unique === true && name !== IDEMPOTENCY_INDEX.options.name)
    .map(({ name }) => name)
  if (foreign.length > 0) {
    log.warn(
      { indexes: foreign },
      "the collection of orders has unique indexes that are not the service's own: they may refuse orders"
    )
  }
}
