import t from 'tap'
import { aNewOrder, request, startService } from '../helper.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })

async function postPreferring (prefer: string, more: Record<string, string> = {}) {
  const response = await fetch(`${service.url}/orders`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer, ...more },
    body: JSON.stringify(aNewOrder)
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

t.test('an order that the caller does not want back is not sent', async (t) => {
  for (const prefer of [
    'return=minimal', 'RETURN=Minimal', 'return="minimal"', 'respond-async, return = minimal; foo', 'return=minimal,return=representation'
  ]) {
    const { status, headers, text } = await postPreferring(prefer)
    t.equal(status, 201, prefer)
    t.equal(text, '')
    t.equal(headers.get('content-length'), '0')
    t.equal(headers.get('content-type'), null)
    t.equal(headers.get('preference-applied'), 'return=minimal')
    t.equal((await request(service.url + headers.get('location'))).status, 200, 'and is stored')
  }
})

t.test('a repeated one is answered as the first', async (t) => {
  const key = { 'idempotency-key': 'key-1' }
  const first = await postPreferring('return=minimal', key)
  const again = await postPreferring('return=minimal', key)
  t.equal(again.headers.get('location'), first.headers.get('location'))
  t.equal(again.headers.get('idempotent-replayed'), 'true')
  t.equal(again.text, '')
  t.match(JSON.parse((await postPreferring('', key)).text), { userId: aNewOrder.userId })
})

t.test('other preferences change nothing', async (t) => {
  for (const prefer of ['return=representation', 'return=representation, return=minimal', 'minimal', 'xreturn=minimal', 'return=minimalist', '']) {
    const { status, headers, text } = await postPreferring(prefer)
    t.equal(status, 201, prefer)
    t.match(JSON.parse(text), aNewOrder)
    t.equal(headers.get('preference-applied'), null)
  }
})
