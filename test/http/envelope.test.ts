import t from 'tap'
import { post, request, startService } from '../helper.ts'

t.test('RESPONSE_ENVELOPE=result wraps every success body, and no error', async (t) => {
  const { url } = await startService(t, { KAFKA_BROKERS: 'off', RESPONSE_ENVELOPE: 'result' })
  t.equal((await request(`${url}/orders`)).text, '{"result":[]}', 'the empty list')

  const created = await post(url)
  t.equal(created.status, 201)
  t.strictSame(Object.keys(created.body), ['result'])
  const order = created.body.result as { _id: string }
  t.strictSame(Object.keys(order), ['_id', 'userId', 'products', 'createdAt', 'updatedAt'])
  t.equal(created.headers.get('location'), `/${order._id}`)

  const found = await request(`${url}/${order._id}`)
  t.equal(found.text, created.text, 'one order')
  t.equal(Number(found.headers.get('content-length')), Buffer.byteLength(found.text))
  t.equal((await request(url)).text, `{"result":[${JSON.stringify(order)}]}`, 'the streamed list')

  for (const problem of [
    await post(url, {}),
    await request(`${url}/0`),
    await request(`${url}/${'0'.repeat(24)}`),
    await request(url, { method: 'PUT' })
  ]) {
    t.match(problem.headers.get('content-type'), /^application\/problem\+json/)
    t.notOk('result' in problem.body)
    t.type(problem.body.message, 'string', 'the gateway reads message')
  }
})

t.test('success bodies are bare when RESPONSE_ENVELOPE is off or empty', async (t) => {
  for (const RESPONSE_ENVELOPE of ['off', '']) {
    const { url } = await startService(t, { KAFKA_BROKERS: 'off', RESPONSE_ENVELOPE })
    const { text, body } = await post(url)
    t.type(body._id, 'string')
    t.equal((await request(url)).text, `[${text}]`)
  }
})
