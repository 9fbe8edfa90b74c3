import { get, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { toDocument, type OrderDocument } from '../../src/models.ts'
import { connectMongo, failCommand, startOwnPart } from '../support/faults.ts'
import { TRACEPARENT } from '../support/relays.ts'
import { aNewOrder, databaseUrl, eventually, metric, newNamespace, startService } from '../helper.ts'

const ORDERS = 3_000
const without = { KAFKA_BROKERS: 'off', REDIS_URL: 'off' }
const service = await startService(t, { ...without, COMPRESSION: 'on', ORDER_INDEXES: 'user' })
const url = `${service.url}/orders`
const documents = Array.from({ length: ORDERS }, () => toDocument(aNewOrder, TRACEPARENT))
const ids = documents.map(({ _id }) => String(_id))
await service.db.collection<OrderDocument>('orders').insertMany(documents)

async function ask (address: string, headers: Record<string, string> = {}) {
  const [answer] = await once(get(address, { agent: false, headers }), 'response') as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(chunk)
  return { status: answer.statusCode, headers: answer.headers, body: Buffer.concat(chunks) }
}

const inflate = {
  gzip: (body: Buffer) => gunzipSync(body).toString(),
  br: (body: Buffer) => brotliDecompressSync(body).toString()
}

t.test('lists, pages and batches of some size are compressed for who accepts that', async (t) => {
  const queries = ['', '?limit=1000', '?userId=user-1', `?ids=${ids.slice(0, 200).join()}`]
  for (const query of queries) {
    for (const accept of ['application/json', 'application/x-ndjson']) {
      const plain = await ask(url + query, { accept })
      t.equal(plain.headers['content-encoding'], undefined)
      t.match(plain.headers.vary, /accept-encoding/)
      for (const encoding of ['gzip', 'br'] as const) {
        const { headers, body } = await ask(url + query, { accept, 'accept-encoding': encoding })
        t.equal(headers['content-encoding'], encoding, `${query.slice(0, 20)} ${accept}`)
        t.equal(headers['content-type'], plain.headers['content-type'])
        t.equal(headers.link, plain.headers.link)
        t.equal(headers.vary, 'Accept, accept-encoding')
        t.equal(inflate[encoding](body), plain.body.toString())
        t.ok(body.length < plain.body.length / 4)
      }
    }
  }
})

t.test('what is small, is one order, goes wrong, or is not asked for compressed is sent as it is', async (t) => {
  const gzip = { 'accept-encoding': 'gzip' }
  for (const address of [`${url}?limit=2`, `${url}/${ids[0]}`, `${url}?limit=0`, `${url}?ids=${ids[0]}`]) {
    const { headers, body } = await ask(address, gzip)
    t.equal(headers['content-encoding'], undefined, address)
    t.doesNotThrow(() => JSON.parse(body.toString()), address)
  }
  for (const accepted of ['identity', 'zstd', 'compress', 'gzip;q=0', '']) {
    t.equal((await ask(url, { 'accept-encoding': accepted })).headers['content-encoding'], undefined, accepted)
  }
})

t.test('without the setting nothing is', async (t) => {
  const plain = await startService(t, without, service.namespace)
  const { headers } = await ask(`${plain.url}/orders`, { 'accept-encoding': 'gzip, br' })
  t.equal(headers['content-encoding'], undefined)
  t.equal(headers.vary, 'Accept')
})

t.test('a list that breaks off is never taken for whole', async (t) => {
  const mongo = await startOwnPart(t, 'mongo')
  const namespace = newNamespace()
  const settings = { ...without, COMPRESSION: 'on', MONGO_URL: databaseUrl(namespace, mongo.url) }
  const broken = await startService(t, settings, namespace)
  await broken.db.collection<OrderDocument>('orders').insertMany(documents)
  await failCommand(t, await connectMongo(t, mongo.url), ['getMore'], { errorCode: 11600 }, 'alwaysOn')
  await t.rejects(ask(`${broken.url}/orders`, { 'accept-encoding': 'gzip' }), { code: 'ECONNRESET' })
  t.equal((await ask(`${broken.url}/orders?limit=100`, { 'accept-encoding': 'gzip' })).status, 200)
})

t.test('a client that goes away ends its list', async () => {
  const [answer] = await once(get(url, { agent: false, headers: { 'accept-encoding': 'gzip' } }), 'response') as [IncomingMessage]
  answer.once('data', () => answer.destroy())
  answer.on('error', () => {})
  await once(answer, 'close')
  await eventually(async () => await metric(service, 'lists_open') === 0, 10_000, 'its end')
})
