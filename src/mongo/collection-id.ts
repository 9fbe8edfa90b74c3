import type { CollectionInfo, Db } from 'mongodb'

/** MongoDB's own id of a collection; undefined if it isn't there, or this user has no right to listCollections. */
export async function collectionId (db: Db, name: string): Promise<string | undefined> {
  const [found] = await db.listCollections({ name }).toArray().catch(() => [])
  return (found as CollectionInfo | undefined)?.info?.uuid?.toString('hex')
}
