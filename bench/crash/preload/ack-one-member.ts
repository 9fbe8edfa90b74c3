/**
 * A lie for the checker: one member of the replica set is enough, so a failover rolls back what was answered with 201.
 */
import { Db } from 'mongodb'

const command = Db.prototype.command
Db.prototype.command = function (body, options) {
  return command.call(this, body.insert === 'orders' ? { ...body, writeConcern: { w: 1 } } : body, options)
}
