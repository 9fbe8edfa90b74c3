import t from 'tap'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { within } from '../../src/runtime/deadline.ts'

t.test('an answer that came while this process was busy is in time', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => client.destroy())
  const [peer] = await once(server, 'connection') as [Socket]
  t.teardown(() => peer.destroy())
  for (let round = 0; round < 5; round++) {
    const answer = within(10, 'the answer', once(client, 'data'))
    peer.write('answer')
    for (const end = performance.now() + 30; performance.now() < end;);
    t.equal(String((await answer)[0]), 'answer')
  }
})

t.test('what does not come is given up', async (t) => {
  await t.rejects(within(10, 'the answer', new Promise(() => {})), { message: 'the answer did not come within 10 ms' })
})
