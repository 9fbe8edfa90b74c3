import t from 'tap'
import type { Order } from '../../schemas/order.ts'
import { aNewOrder, post, request, startService } from '../helper.ts'

const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off', ORDER_INDEXES: 'all' })
const url = `${service.url}/orders`
const texts: string[] = []
for (const userId of ['user-1', 'Jörg', 'user-3']) texts.push((await post(url, { ...aNewOrder, userId })).text)
const ids = texts.map((text) => (JSON.parse(text) as Order)._id)
const unknown = 'f'.repeat(24)

t.test('what is no parameter, comes twice or is not what it must be is a 400 that names it', async (t) => {
  const refused: [query: string, parameter: string, code?: string][] = [
    ['limit=0', 'limit'], ['limit=1001', 'limit'], ['limit=', 'limit'], ['limit=-1', 'limit'], ['limit=1.0', 'limit'],
    ['limit=1e2', 'limit'], ['limit=0x10', 'limit'], ['limit=010', 'limit'], ['limit=%201', 'limit'],
    ['limit=99999999999999999999', 'limit'], ['limit', 'limit'], ['limit=true', 'limit'],
    ['after=', 'after'], ['after=1', 'after'], [`after=${unknown}0`, 'after'], [`after=${'g'.repeat(24)}`, 'after'],
    ['order=', 'order'], ['order=ASC', 'order'], ['order=1', 'order'],
    ['userId=', 'userId'], [`userId=${'a'.repeat(129)}`, 'userId'], ['productId=', 'productId'],
    ['createdFrom=2026-11-27', 'createdFrom'], ['createdFrom=1700000000', 'createdFrom'], ['createdFrom=', 'createdFrom'],
    ['createdFrom=2026-02-30T00:00:00Z', 'createdFrom'], ['createdFrom=2026-11-27T24:00:00Z', 'createdFrom'],
    ['createdTo=2026-11-27T08:00:00', 'createdTo'], ['createdTo=2026-11-27T08:00:00+01:00', 'createdTo'],
    ['createdTo=2026-13-01T00:00:00Z', 'createdTo'], ['createdTo=26-11-27T00:00:00Z', 'createdTo'],
    ['ids=', 'ids'], ['ids=1', 'ids'], [`ids=${ids[0]},`, 'ids'], [`ids=${ids[0]};${ids[1]}`, 'ids'],
    [`ids=${Array(251).fill(ids[0]).join()}`, 'ids'],
    ['page=2', 'page'], ['limit=1&offset=1', 'offset'], ['Limit=1', 'Limit'], ['__proto__=1', '__proto__'],
    ['limit[]=1', 'limit[]'], ['userId[$ne]=x', 'userId[$ne]'], ['=1', ''],
    ['limit=1&limit=2', 'limit', 'PARAMETER_REPEATED'], ['userId=a&userId=a', 'userId', 'PARAMETER_REPEATED'],
    [`ids=${ids[0]}&ids=${ids[1]}`, 'ids', 'PARAMETER_REPEATED'],
    [`ids=${ids[0]}&limit=1`, 'limit', 'PARAMETERS_CONFLICT'],
    ['userId=a&productId=b', 'productId', 'PARAMETERS_CONFLICT']
  ]
  for (const [query, parameter, code = 'VALIDATION_FAILED'] of refused) {
    for (const path of [service.url, url]) {
      const { status, body } = await request(`${path}?${query}`)
      t.equal(status, 400, query)
      t.equal(body.code, code, query)
      t.equal(body.errors?.at(-1)?.parameter, parameter, query)
      t.equal(body.detail, body.errors?.[0]?.detail)
    }
  }
  for (const query of ['userId=%', 'userId=%ff', 'userId=%ed%a0%80', 'limit=1&%zz=1']) {
    t.equal((await request(`${url}?${query}`)).body.code, 'QUERY_MALFORMED', query)
  }
})

t.test('an empty query is none', async (t) => {
  for (const query of ['?', '?&', '']) t.equal((await request(url + query)).text, `[${texts.join()}]`, query)
})

t.test('a batch has the orders in the order asked, and null for those that are unknown', async (t) => {
  const asked = [ids[2], unknown, ids[0], ids[2], ids[1]!.toUpperCase()]
  const { status, headers, text } = await request(`${url}?ids=${asked.join()}`)
  t.equal(status, 200)
  t.match(headers.get('content-type'), 'application/json')
  t.equal(headers.get('content-length'), String(Buffer.byteLength(text)))
  t.equal(text, `[${[texts[2], 'null', texts[0], texts[2], texts[1]].join()}]`)
  t.equal((await request(`${url}?ids=${asked.join('%2C')}`)).text, text, 'as URLSearchParams writes it')
  t.equal((await request(`${url}?ids=${ids[0]}`)).text, `[${texts[0]}]`)
})

t.test('lines for whoever prefers them: the whole list, a page, a batch', async (t) => {
  const lines = (...each: string[]): string => each.map((text) => `${text}\n`).join('')
  for (const type of ['application/x-ndjson', 'application/jsonl']) {
    const get = (query: string) => accepting(`${url}${query}`, type)
    const whole = await get('')
    t.equal(whole.headers.get('content-type'), type)
    t.equal(whole.headers.get('vary'), 'Accept')
    t.equal(whole.text, lines(...texts))
    const page = await get('?limit=2')
    t.equal(page.text, lines(...texts.slice(0, 2)))
    t.match(page.headers.get('link'), `after=${ids[1]}`)
    t.equal((await get(`?ids=${ids[1]},${unknown}`)).text, lines(texts[1]!, 'null'))
    t.equal((await get('?userId=nobody')).text, '', 'and none when there is none')
  }
})

t.test('JSON for everybody else', async (t) => {
  for (const accept of [
    '*/*', 'application/json, text/plain, */*', 'text/html', 'application/*', 'nonsense',
    'application/json, application/x-ndjson', 'application/x-ndjson;q=0.5, application/json', 'application/x-ndjson;q=0'
  ]) {
    const { headers, text } = await accepting(`${url}?limit=3`, accept)
    t.match(headers.get('content-type'), 'application/json', accept)
    t.equal(text, `[${texts.join()}]`)
  }
})

async function accepting (url: string, accept: string): Promise<{ headers: Headers, text: string }> {
  const response = await fetch(url, { headers: { accept } })
  return { headers: response.headers, text: await response.text() }
}

t.test('the envelope is around JSON and not around lines', async (t) => {
  const { url } = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off', RESPONSE_ENVELOPE: 'result' })
  const { body } = await post(url)
  const order = JSON.stringify(body.result)
  const { _id } = body.result as Order
  t.equal((await request(`${url}?limit=1`)).text, `{"result":[${order}]}`)
  t.equal((await request(`${url}?ids=${_id},${unknown}`)).text, `{"result":[${order},null]}`)
  t.equal((await accepting(`${url}?limit=1`, 'application/x-ndjson')).text, `${order}\n`)
})

t.test('HEAD has no body, and refuses what GET refuses', async (t) => {
  t.equal((await fetch(`${url}?limit=1`, { method: 'HEAD' })).status, 200)
  t.equal((await fetch(`${url}?limit=0`, { method: 'HEAD' })).status, 400)
})
