import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { aNewOrder, eventually, metric, post, startService } from '../helper.ts'

const PLACES = 12
/** Of a connection. */
const REQUESTS = 4

for (const { path, gauge, settings } of [
  { path: '/orders', gauge: 'lists_open', settings: { LISTS_MAX: PLACES } as Partial<Settings> },
  { path: '/orders/stream', gauge: 'feed_clients', settings: { FEED_CLIENTS_MAX: PLACES } }
]) {
  t.test(`${path}: a client that goes away gives back all places that it took on one connection`, async (t) => {
    const service = await startService(t, settings)
    // A list too long for the buffers of the sockets.
    const products = Array.from({ length: 250 }, (_, index) => ({ _id: `product-${index}`, quantity: 1 }))
    for (let each = 0; each < 40; each++) {
      await Promise.all(Array.from({ length: 20 }, () => post(`${service.url}/orders`, { ...aNewOrder, products })))
    }
    const { hostname, port } = new URL(service.url)
    for (let round = 0; round < 2 * PLACES / REQUESTS; round++) {
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(REQUESTS))
      await once(socket, 'data')
      socket.pause()
      await eventually(async () => (await metric(service, gauge) ?? 0) >= REQUESTS, 10_000, 'their places')
      socket.destroy()
      await eventually(async () => await metric(service, gauge) === 0, 10_000, 'their end')
    }
    t.equal(await metric(service, 'requests_shed_total{reason="lists"}'), 0)
    t.equal(await metric(service, 'requests_shed_total{reason="feed"}'), 0)
  })
}
