/** A lie for the checker: now and then something else is stored than was answered. */
import { Db } from 'mongodb'

const ONE_IN = 50

let orders = 0
const command = Db.prototype.command
Db.prototype.command = function (body, options) {
  if (body.insert !== 'orders') return command.call(this, body, options)
  const documents = body.documents
    .toBSON()
    .map((document: { products: { quantity: number }[] }) =>
      ++orders % ONE_IN === 0
        ? { ...document, products: document.products.map((line) => ({ ...line, quantity: line.quantity + 1 })) }
        : document
    )
  return command.call(this, { ...body, documents }, options)
}
