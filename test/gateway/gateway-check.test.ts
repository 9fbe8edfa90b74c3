import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { eventually, metric, post, startService } from '../helper.ts'
import { startGateway } from '../support/graphql-gateway.ts'

/* Whether users and products of orders exist, asked of a real GraphQL server over Axios. */

async function start (t: Test, settings: Partial<Settings> = {}) {
  const gateway = await startGateway(t)
  const service = await startService(t, {
    KAFKA_BROKERS: 'off',
    REDIS_URL: 'off',
    GATEWAY_URL: gateway.url,
    GATEWAY_CHECK: 'refuse',
    GATEWAY_TIMEOUT_MS: 2_000, // a busy machine is slow
    ...settings
  })
  return { gateway, service, stored: () => service.db.collection('orders').countDocuments() }
}

const orderOf = (userId: string, ...ids: string[]) => ({ userId, products: ids.map((_id) => ({ _id, quantity: 1 })) })
const hanging = async (): Promise<never> => await new Promise<never>(() => {})

t.test('an order of a known user and known products is stored', async (t) => {
  const { gateway, service } = await start(t)
  t.equal((await post(service.url, orderOf('user', 'p-1', 'p-2', 'p-1'))).status, 201)
  t.strictSame(gateway.seen, [['user', 'p-1', 'p-2']], 'each is asked about once, all in one request')
  t.equal((await post(service.url, orderOf('user', 'p-2'))).status, 201)
  t.equal(gateway.seen.length, 1, 'and what is known is not asked again')
  t.equal(await metric(service, 'gateway_checks_total{result="known"}'), 6)
})

t.test('ids are never GraphQL', async (t) => {
  const { gateway, service } = await start(t)
  const ids = ['"}){_id} x: product(id:"', '$k0', '\\u0000\\', 'ö😀', '{__schema{types{name}}}']
  t.equal((await post(service.url, orderOf(ids[0]!, ...ids))).status, 201)
  t.strictSame(gateway.seen.flat(), [ids[0], ...ids], 'a user and a product of one id are two questions')
})

t.test('what the gateway does not know is refused, with its place', async (t) => {
  const { service, stored } = await start(t)
  for (const [order, code, pointers] of [
    [orderOf('unknown', 'p'), 'UNKNOWN_USER', ['/userId']],
    [orderOf('user', 'p', 'unknown-1', 'not-found-1'), 'UNKNOWN_PRODUCT', ['/products/1/_id', '/products/2/_id']],
    [orderOf('not-found', 'unknown-1'), 'UNKNOWN_USER', ['/userId', '/products/0/_id']],
    [orderOf('user', 'failing', 'unknown-1'), 'UNKNOWN_PRODUCT', ['/products/1/_id']]
  ] as const) {
    const { status, body } = await post(service.url, order)
    t.equal(status, 422)
    t.equal(body.code, code)
    t.strictSame(body.errors.map(({ pointer }) => pointer), pointers)
  }
  t.equal(await stored(), 0)
})

t.test('what is unknown may be known a moment later', async (t) => {
  const { gateway, service } = await start(t)
  t.equal((await post(service.url, orderOf('user', 'unknown-1'))).status, 422)
  gateway.behaviour.unknown = 'nothing'
  await eventually(async () => (await post(service.url, orderOf('user', 'unknown-1'))).status === 201, 10_000)
})

t.test('many orders at once ask once about the same, and a few things at a time', async (t) => {
  const { gateway, service } = await start(t)
  const same = await Promise.all(Array.from({ length: 50 }, () => post(service.url, orderOf('user', 'p-1', 'p-2'))))
  t.ok(same.every(({ status }) => status === 201))
  t.strictSame(gateway.seen.flat().toSorted(), ['p-1', 'p-2', 'user'])
  gateway.seen.length = 0
  const ids = Array.from({ length: 40 }, (_, index) => `other-${index}`)
  t.equal((await post(service.url, orderOf('user', ...ids))).status, 201)
  t.strictSame(gateway.seen.map((questions) => questions.length).toSorted(), [10, 15, 15])
})

t.test('a gateway that cannot say', async (t) => {
  const { gateway, service, stored } = await start(t, { GATEWAY_TIMEOUT_MS: 200 })
  const strict = await startService(t, {
    KAFKA_BROKERS: 'off',
    REDIS_URL: 'off',
    GATEWAY_URL: gateway.url,
    GATEWAY_CHECK: 'require',
    GATEWAY_TIMEOUT_MS: 200
  }, service.namespace)
  let n = 0
  const faults: [name: string, instead: (() => Promise<{ status: number, body: unknown }>) | undefined][] = [
    ['hangs', hanging],
    ['fails', async () => ({ status: 500, body: 'no' })],
    ['is no GraphQL', async () => ({ status: 200, body: '<html>' })],
    ['has no data', async () => ({ status: 200, body: { errors: [{ message: 'no' }], data: null } })],
    ['says nothing about it', async () => ({ status: 200, body: { data: {} } })],
    ['redirects', async () => ({ status: 302, body: '' })],
    ['fails in its resolvers', undefined]
  ]
  for (const [name, instead] of faults) {
    gateway.behaviour.instead = instead
    gateway.behaviour.failing = instead === undefined ? '' : 'failing'
    const before = await stored()
    t.equal((await post(service.url, orderOf('user', `p-${n++}`))).status, 201, `one that ${name}: accepted`)
    const refused = await post(strict.url, orderOf('user', `p-${n++}`))
    t.equal(refused.status, 503, `one that ${name}: refused where it is required`)
    t.equal(refused.body.code, 'GATEWAY_UNAVAILABLE')
    t.ok(refused.headers.has('retry-after'))
    t.equal(await stored(), before + 1)
  }
  gateway.behaviour.instead = undefined
  gateway.behaviour.failing = 'failing'
  await eventually(async () => (await post(strict.url, orderOf('user', 'p'))).status === 201, 20_000, 'its return')
})

t.test('one that is away costs orders nothing after a while, and is found when it is back', async (t) => {
  const { gateway, service } = await start(t, { GATEWAY_CHECK: 'require' })
  t.equal((await post(service.url, orderOf('user', 'p'))).status, 201)
  await gateway.stop()
  let n = 0
  for (; n < 20; n++) t.equal((await post(service.url, orderOf('user', `p-${n}`))).status, 503)
  await gateway.start()
  await eventually(
    async () => (await post(service.url, orderOf('user', `p-${n++}`))).status === 201, 20_000, 'the breaker closes'
  )
  gateway.seen.length = 0
  // Its connections of before are cut: the question goes out once more over a new one.
  await gateway.stop()
  await gateway.start()
  t.equal((await post(service.url, orderOf('user', `p-${n++}`))).status, 201)
})

t.test('an order that was stored is answered, whatever the gateway says of it by now', async (t) => {
  const { gateway, service, stored } = await start(t)
  const headers = { 'idempotency-key': 'key-1' }
  const first = await post(service.url, orderOf('user', 'p'), headers)
  t.equal(first.status, 201)
  const other = await startService(t, {
    KAFKA_BROKERS: 'off', REDIS_URL: 'off', GATEWAY_URL: gateway.url, GATEWAY_CHECK: 'require'
  }, service.namespace)
  gateway.behaviour.unknown = ''
  const again = await post(other.url, orderOf('user', 'p'), headers)
  t.strictSame([again.status, again.text], [201, first.text])
  t.equal(again.headers.get('idempotent-replayed'), 'true')
  t.equal((await post(other.url, orderOf('user', 'p', 'q'), headers)).body.code, 'IDEMPOTENCY_KEY_REUSED')
  t.equal((await post(other.url, orderOf('user', 'p'), { 'idempotency-key': 'key-2' })).body.code, 'UNKNOWN_USER')
  t.equal(await stored(), 1)
})

t.test('warn, the default, waits for nothing and refuses nobody', async (t) => {
  const { gateway, service } = await start(t, { GATEWAY_CHECK: 'warn' })
  gateway.behaviour.instead = async () => {
    await delay(500)
    return undefined as never
  }
  t.equal((await post(service.url, orderOf('unknown', 'p'))).status, 201)
  await eventually(async () => await metric(service, 'gateway_checks_total{result="unknown"}') === 1)
  t.equal(await metric(service, 'gateway_checks_total{result="known"}'), 1)
})

t.test('the query is named by settings, and a part of it can be off', async (t) => {
  const { gateway, service } = await start(t, { GATEWAY_USER: 'off', GATEWAY_PRODUCT: 'user:_id' })
  t.equal((await post(service.url, orderOf('unknown', 'p'))).status, 201)
  t.strictSame(gateway.seen, [['p']])
})

t.test('without a gateway nothing is asked or counted', async (t) => {
  const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
  t.equal((await post(service.url)).status, 201)
  t.equal(service.api.refusalByGateway ?? service.api.warnByGateway, undefined)
  t.equal(await metric(service, 'gateway_checks_total{result="known"}'), undefined)
})
