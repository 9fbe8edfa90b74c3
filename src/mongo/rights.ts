import { MongoServerError, type Db } from 'mongodb'
import { StartupError } from '../errors.ts'
import { UNAUTHORIZED } from './reasons.ts'

interface Privilege { resource: { db?: string, collection?: string, anyResource?: boolean }, actions: string[] }

/**
 * What the service does all the time. To create what isn't there takes `createCollection` or `insert`, and
 * `createIndex`.
 */
const NEEDED = {
  orders: ['find', 'insert', 'update', 'changeStream'],
  relay: ['find', 'insert', 'update']
}

/**
 * Asks MongoDB what the user of MONGO_URL may do. Every user may ask that about itself.
 * @throws StartupError that names all that is missing, and the command that grants it
 */
export async function checkRights (db: Db): Promise<void> {
  const { authInfo } = await db.command({ connectionStatus: 1, showPrivileges: true })
  const { authenticatedUsers, authenticatedUserPrivileges } = authInfo as {
    authenticatedUsers: unknown[]
    authenticatedUserPrivileges: Privilege[]
  }
  if (authenticatedUsers.length === 0) return // access control is off
  const missing = Object.entries(NEEDED).flatMap(([collection, actions]) => {
    const lacking = actions.filter(
      (action) =>
        !authenticatedUserPrivileges.some((privilege) => grants(privilege, db.databaseName, collection, action))
    )
    return lacking.length === 0 ? [] : [{ collection, actions: lacking }]
  })
  if (missing.length > 0) throw missingRights(db, missing)
}

function grants ({ resource, actions }: Privilege, database: string, collection: string, action: string): boolean {
  const matches = (given: string | undefined, wanted: string): boolean => given === '' || given === wanted
  const covers =
    resource.anyResource === true || (matches(resource.db, database) && matches(resource.collection, collection))
  return covers && actions.some((given) => given === action || given === 'anyAction')
}

/** In MongoDB a right belongs to a role, and only its operator knows which roles its users have. */
export function missingRights (db: Db, missing: { collection: string, actions: string[] }[]): StartupError {
  const what = missing
    .map(({ collection, actions }) => `${actions.join(', ')} on ${db.databaseName}.${collection}`)
    .join('; ')
  const privileges = missing.map(({ collection, actions }) => ({
    resource: { db: db.databaseName, collection },
    actions
  }))
  return new StartupError(
    `the user of MONGO_URL has no right to ${what}. Grant it to a role of that user: db.getSiblingDB('DATABASE OF THE ROLE').grantPrivilegesToRole('ROLE', ${JSON.stringify(privileges)})`
  )
}

export function isForbidden (error: unknown): boolean {
  return error instanceof MongoServerError && error.code === UNAUTHORIZED
}
