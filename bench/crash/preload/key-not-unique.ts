/** A lie for the checker: the index of the Idempotency-Keys lets a key be taken twice. */
import { Db, type Document } from 'mongodb'

const command = Db.prototype.command
Db.prototype.command = function (body, options) {
  if (body.createIndexes !== 'orders') return command.call(this, body, options)
  return command.call(
    this,
    { ...body, indexes: body.indexes.map((index: Document) => ({ ...index, unique: false })) },
    options
  )
}
