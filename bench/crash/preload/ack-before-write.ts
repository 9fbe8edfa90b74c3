/** A lie for the checker: the insert of orders is confirmed at once and done later. */
import { Db } from 'mongodb'

const LATER_MS = 300

const command = Db.prototype.command
Db.prototype.command = function (body, options) {
  if (body.insert !== 'orders') return command.call(this, body, options)
  setTimeout(() => { command.call(this, body).catch(() => {}) }, LATER_MS)
  return Promise.resolve({ ok: 1, n: body.documents.toBSON().length })
}
