import { MongoNetworkError, MongoServerError, MongoServerSelectionError } from 'mongodb'
import { ConnectionString } from 'mongodb-connection-string-url'
import { StartupError } from '../errors.ts'
import { SERVER_SELECTION_MS_MAX } from './client.ts'

export const UNAUTHORIZED = 13
const AUTHENTICATION_FAILED = 18
/** Not primary, stepping down, shutting down, recovering, an index build that was broken off, a time-out. */
const PASSING_CODES = new Set([50, 89, 91, 189, 202, 262, 276, 9001, 10107, 11600, 11602, 13435, 13436])
const TLS = /certificate|\b(?:SSL|TLS)\b|wrong version number/i

/** For the log: MongoDB's own messages may hold the whole command, and so an order. */
export function reasonOf (error: unknown): string {
  return error instanceof MongoServerError
    ? `${error.codeName ?? 'an error'} (${error.code})`
    : (error as Error).message
}

/** Whether a start may wait for it to pass: the server is away, hangs, is electing, or its name is not known yet. */
export function passesWithTime (error: unknown): boolean {
  if (TLS.test((error as Error).message)) return false
  if (error instanceof MongoServerError) return PASSING_CODES.has(Number(error.code))
  return error instanceof MongoServerSelectionError || error instanceof MongoNetworkError ||
    ['ENOTFOUND', 'EAI_AGAIN', 'ENODATA', 'ESERVFAIL', 'ETIMEOUT'].includes((error as NodeJS.ErrnoException).code ?? '')
}

/** In one line what is wrong with the MongoDB at `url`. */
export function explainMongo (error: Error, url: string): StartupError {
  if (error instanceof StartupError) return error
  const { hosts, searchParams } = new ConnectionString(url)
  const place = `MongoDB at ${hosts.join(',')}`
  const message = error.message.replace(/\.$/, '')
  if (
    error instanceof MongoServerError &&
    (error.code === AUTHENTICATION_FAILED ||
      (error.code === UNAUTHORIZED && message.includes('requires authentication')))
  ) {
    return new StartupError(`${place} refused the user of MONGO_URL: ${message}. Check user, password and authSource`, {
      cause: error
    })
  }
  if (error instanceof MongoServerError && error.code === UNAUTHORIZED) {
    return new StartupError(
      `${place} does not let the user of MONGO_URL do what the service needs: ${message}. The rights are listed in docs/guides/kafka.md, "Rights in MongoDB"`,
      { cause: error }
    )
  }
  if (TLS.test(message)) {
    return new StartupError(
      `${place} can't be reached by TLS: ${message}. Name your CA in NODE_EXTRA_CA_CERTS or by tlsCAFile in MONGO_URL`,
      { cause: error }
    )
  }
  if (error instanceof MongoServerSelectionError) {
    const set = searchParams.get('replicaSet')
    const hint =
      set === null
        ? 'is it running, and MONGO_URL right?'
        : `is it running, as a member of the replica set ${set} that was initiated?`
    return new StartupError(
      `${place} could not be used within ${SERVER_SELECTION_MS_MAX / 1000} s: ${hint} (${message})`,
      { cause: error }
    )
  }
  return new StartupError(`${place}: ${message}`, { cause: error })
}
