import { readFileSync } from 'node:fs'
import { Validator } from '@seriousme/openapi-schema-validator'
import t from 'tap'
import { describeApi } from '../../src/app.ts'
import { openBrowser } from '../support/browser.ts'
import { request, startService } from '../helper.ts'

const without = { KAFKA_BROKERS: 'off', REDIS_URL: 'off' }
const text = readFileSync('openapi.json', 'utf8')
const document = JSON.parse(text)

interface Operation { operationId: string, responses: Record<string, { description: string, content: object }> }
const operations = Object.values(document.paths as Record<string, Record<string, Operation>>)
  .flatMap((path) => Object.values(path))

t.test('openapi.json is what the routes say (npm run openapi writes it)', async (t) => {
  t.equal(text, `${JSON.stringify(await describeApi(), null, 2)}\n`)
})

t.test('it is valid OpenAPI 3.1, and complete', async (t) => {
  const { valid, errors } = await new Validator().validate(document)
  t.ok(valid, JSON.stringify(errors))
  t.match(document.openapi, /^3\.1\./)
  t.strictSame(Object.keys(document.paths), ['/orders', '/orders/stream', '/orders/{id}'])
  t.strictSame(
    operations.map(({ operationId }) => operationId).sort(),
    ['createOrder', 'getOrder', 'listOrders', 'streamOrders']
  )
  t.strictSame(
    Object.keys(document.components.schemas),
    ['NewOrder', 'Order', 'OrderBatch', 'OrderLine', 'OrderList', 'Problem', 'ProblemPlace']
  )
  t.notMatch(text, /ud800/, 'what has surrogates is translated')
  const page = readFileSync('docs/reference/errors.md', 'utf8')
  for (const { responses } of operations) {
    for (const [status, { description, content }] of Object.entries(responses).filter(([status]) => status >= '400')) {
      t.strictSame(Object.keys(content), ['application/problem+json'], status)
      for (const code of description.match(/[A-Z]+(_[A-Z0-9]+)+/g) ?? []) {
        t.match(page, new RegExp(`\\| ${status} \\|[^|]*\`${code}\``), `${status} ${code}`)
      }
    }
  }
})

t.test('it is served outside of production, or by setting', async (t) => {
  const production = { NODE_ENV: 'production' }
  for (const [settings, status] of [
    [{}, 200], [{ DOCS: 'on', ...production }, 200], [{ DOCS: 'off' }, 400], [production, 400]
  ] as const) {
    const { url } = await startService(t, { ...without, ...settings })
    t.equal((await fetch(`${url}/docs`)).status, status, JSON.stringify(settings))
    const served = await fetch(`${url}/openapi.json`)
    t.equal(served.status, status)
    if (status === 200) t.strictSame(await served.json(), document)
  }
})

t.test('it has the envelope, where there is one', async (t) => {
  const { url } = await startService(t, { ...without, RESPONSE_ENVELOPE: 'result' })
  const { body } = await request(`${url}/openapi.json`)
  const { responses } = (body.paths as typeof document.paths)['/orders/{id}'].get
  t.strictSame(responses[200].content['application/json'].schema.required, ['result'])
})

t.test('the page /docs shows the operations and sends requests, all from this service', async (t) => {
  const service = await startService(t, without)
  const browser = await openBrowser(t)
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } })
  const complaints: string[] = []
  const elsewhere: string[] = []
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(message.text()) })
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('request', (each) => {
    if (!each.url().startsWith(service.url) && !each.url().startsWith('data:')) elsewhere.push(each.url())
  })

  const response = await page.goto(`${service.url}/docs`)
  const policy = response!.headers()['content-security-policy']!
  t.match(policy, "default-src 'none'")
  t.match(policy, "script-src 'self';")
  await page.getByText('Stores an order').waitFor()
  await page.getByText('One order').waitFor()
  if (process.env.SCREENSHOT !== undefined) await page.screenshot({ path: process.env.SCREENSHOT })

  await page.getByText('Stores an order').click()
  await page.getByRole('button', { name: 'Execute' }).click()
  await page.locator('.live-responses-table .response-col_status', { hasText: '201' }).first().waitFor()
  const [order] = await service.db.collection('orders').find().toArray()
  t.equal(order!.userId, 'user-1', "the document's example is stored")
  t.strictSame(complaints, [])
  t.strictSame(elsewhere, [])
})
