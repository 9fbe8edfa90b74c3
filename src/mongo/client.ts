import { MongoClient, type MongoClientOptions } from 'mongodb'
import { ConnectionString } from 'mongodb-connection-string-url'
import { StartupError } from '../errors.ts'

const DATABASE = 'orders'
/** MongoDB's own. They have no change streams, or no retryable writes. */
const SYSTEM_DATABASES = ['admin', 'local', 'config']

/** How long any command waits for a primary. */
export const SERVER_SELECTION_MS_MAX = 10_000
/**
 * How soon the driver looks again at a server that it has given up, unless that server reports back first. Until then
 * nothing is sent to it, and the driver's 10 s are as long as an order may take.
 */
const HEARTBEAT_MS = 2_000
/** A last bound for whatever has no deadline of its own: above all that is waited for on purpose. */
const SOCKET_MS_MAX = 45_000
/** Inserts and reads need six, each change stream one, and each list that is being read one from time to time. */
const POOL_MAX = 50
/** The change streams of caches and relay hold two of them. */
const POOL_MIN = 5

/** What MONGO_URL says otherwise wins over these. */
const DEFAULTS: MongoClientOptions = {
  appName: 'order-service',
  serverSelectionTimeoutMS: SERVER_SELECTION_MS_MAX,
  connectTimeoutMS: SERVER_SELECTION_MS_MAX,
  heartbeatFrequencyMS: HEARTBEAT_MS,
  socketTimeoutMS: SOCKET_MS_MAX,
  maxPoolSize: POOL_MAX
}

/**
 * What doesn't count in MONGO_URL, as it would break a promise: an order is stored when a majority has it in its
 * journal, and what decides is read from the primary. The values are those that say the same.
 */
const FIXED: Record<string, string[]> = {
  readPreference: ['primary'],
  readPreferenceTags: [],
  maxStalenessSeconds: [],
  readConcernLevel: ['majority'],
  w: ['majority'],
  wtimeoutMS: ['0'],
  journal: ['true'],
  j: ['true']
}

const lowerCase = (names: string[]): string[] => names.map((name) => name.toLowerCase())
const isOneOf = (names: string[], name: string): boolean => lowerCase(names).includes(name.toLowerCase())

/** Does not connect yet. @throws StartupError, or the driver's error, where the URL can't be used */
export function createMongoClient (url: string): MongoClient {
  const parsed = new ConnectionString(url)
  const given = [...parsed.searchParams.keys()]
  for (const name of given) if (isOneOf(Object.keys(FIXED), name)) parsed.searchParams.delete(name)
  const defaults = Object.entries(DEFAULTS).filter(([name]) => !isOneOf(given, name))
  const client = new MongoClient(parsed.href, Object.fromEntries(defaults))
  const { maxPoolSize } = client.options
  if (maxPoolSize > 0 && maxPoolSize < POOL_MIN) {
    throw new StartupError(
      `maxPoolSize=${maxPoolSize} in MONGO_URL is too small: the service needs ${POOL_MIN} connections`
    )
  }
  return client
}

/** @returns the names of options that were given and don't count */
export function ignoredOptions (url: string): string[] {
  const { searchParams } = new ConnectionString(url)
  return Object.entries(FIXED).flatMap(([name, same]) =>
    [...searchParams]
      .filter(([given, value]) => isOneOf([name], given) && !isOneOf(same, value))
      .map(([given]) => given)
  )
}

/** @throws StartupError for a database that is MongoDB's own */
export function databaseOf (url: string): string {
  const name = decodeURIComponent(new ConnectionString(url).pathname.slice(1)) || DATABASE
  if (!isOneOf(SYSTEM_DATABASES, name)) return name
  throw new StartupError(
    `MONGO_URL ends in /${name}, which is a database of MongoDB's own: name one for the orders, as in mongodb://host/${DATABASE}?authSource=${name === 'admin' ? name : 'admin'}`
  )
}
