import { once } from 'node:events'
import { connect, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ObjectId } from 'mongodb'
import { eventually, metric, request, startService } from '../helper.ts'

const STALLED_MS = 400
/** More than the kernel's buffers of a connection hold. */
const BYTES = 32_000_000

const service = await startService(t, { REDIS_URL: 'off', KAFKA_BROKERS: 'off', LISTS_MAX: 1, CACHE_BYTES_MAX: 0 })
const order = { userId: 'u'.repeat(8_000), products: [], createdAt: new Date(), updatedAt: new Date() }
await service.db
  .collection('orders')
  .insertMany(Array.from({ length: BYTES / 8_000 }, () => ({ _id: new ObjectId(), ...order })))
// As the service has it, but shorter.
t.ok(service.api.server.timeout >= 30_000, 'longer than anything that MongoDB is waited for')
service.api.server.timeout = STALLED_MS

async function send (t: Test, request: string): Promise<Socket> {
  const socket = connect((service.api.server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  socket.write(request)
  return socket
}

const LIST = 'GET /orders HTTP/1.1\r\nHost: test\r\n\r\n'

t.test('a list whose reader takes nothing is cut, and its place given back', async (t) => {
  const socket = await send(t, LIST)
  socket.pause()
  await eventually(async () => await metric(service, 'lists_open') === 1)
  t.equal((await request(`${service.url}/orders`)).body.code, 'OVERLOADED')
  await eventually(async () => await metric(service, 'lists_open') === 0, 20_000, 'the place')
  socket.resume()
  await once(socket, 'close')
  t.ok(socket.bytesRead < BYTES, 'and it is no whole list')
})

t.test('a list whose reader takes a little from time to time is not cut', async (t) => {
  const socket = await send(t, LIST)
  const began = performance.now()
  let ended = false
  socket.once('close', () => { ended = true })
  socket.on('data', () => {
    // In small steps at first, for several times as long as a reader may stall.
    if (performance.now() - began > 4 * STALLED_MS) return
    socket.pause()
    setTimeout(() => socket.resume(), STALLED_MS / 20)
  })
  await eventually(() => socket.bytesRead > BYTES, 60_000, 'the whole list')
  t.ok(performance.now() - began > 4 * STALLED_MS)
  t.notOk(ended)
})

t.test('a connection that asks and asks and never reads is cut', async (t) => {
  const [{ _id }] = await service.db.collection('orders').find().limit(1).toArray() as [{ _id: ObjectId }]
  const accepted = once(service.api.server, 'connection') as Promise<[Socket]>
  const socket = await send(t, `GET /orders/${_id} HTTP/1.1\r\nHost: test\r\n\r\n`.repeat(3_000))
  socket.pause()
  const [served] = await accepted
  await eventually(() => served.destroyed, 20_000, 'the end of the connection')
  t.ok(served.bytesWritten < BYTES)
})
