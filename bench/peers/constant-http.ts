/** A ceiling: what node:http does when there is nothing else to do. */
import { createServer } from 'node:http'
import { CONSTANT_ORDER } from './constant-order.ts'
import { endOnSignal, settings } from './settings.ts'

const body = Buffer.from(JSON.stringify(CONSTANT_ORDER))
const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': body.length }
const server = createServer((_request, response) => { response.writeHead(200, headers).end(body) })
server.listen(settings.port, settings.host)
endOnSignal(async () => {
  server.closeAllConnections()
  server.close()
})
