import t, { type Test } from 'tap'
import {
  assertExactlyOnce,
  connectMongo,
  failCommand,
  startMongoProxy,
  startOwnPart,
  storedIds
} from '../support/faults.ts'
import {
  aNewOrder,
  collectEvents,
  databaseUrl,
  eventually,
  newNamespace,
  post,
  startService,
  type Answer,
  type RunningService
} from '../helper.ts'

const mongo = await startOwnPart(t, 'mongo')
const client = await connectMongo(t, mongo.url)

async function start (t: Test): Promise<RunningService> {
  const namespace = newNamespace()
  return await startService(t, { MONGO_URL: databaseUrl(namespace, mongo.url) }, namespace)
}

async function postMany (service: RunningService, count: number): Promise<Answer[]> {
  return await Promise.all(
    Array.from({ length: count }, (_, index) => post(service.url, { ...aNewOrder, userId: `user-${index}` }))
  )
}

function outcomes (answers: Answer[]): string[] {
  return [...new Set(answers.map(({ status, body }) => `${status} ${body.code ?? ''}`))].sort()
}

const passing = {
  'the connection is cut before the insert': { closeConnection: true },
  'the primary has stepped down': { errorCode: 10107, errorLabels: ['RetryableWriteError'] },
  'the primary is shutting down': { errorCode: 91, errorLabels: ['RetryableWriteError'] },
  'the insert is interrupted by a step-down': { errorCode: 11602 },
  'the insert is interrupted by a shutdown': { errorCode: 11600 },
  'the primary steps down within the insert': { errorCode: 189 },
  'the insert is applied and its durability times out': {
    writeConcernError: { code: 64, errmsg: 'waiting for replication timed out' }
  },
  'the insert is applied and the primary shuts down': {
    writeConcernError: { code: 91, errmsg: 'Replication is being shut down' }
  },
  'the insert hangs for a while': { blockConnection: true, blockTimeMS: 1_500 }
}

t.test('a failure that passes costs nobody an order, and no order is stored or published twice', async (t) => {
  const service = await start(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const ids: string[] = []
  for (const [name, data] of Object.entries(passing)) {
    for (const count of [1, 40]) {
      await t.test(`${name}, ${count} at a time`, async (t) => {
        await failCommand(t, client, ['insert'], data, { times: count === 1 ? 1 : 2 })
        const answers = await postMany(service, count)
        t.strictSame(outcomes(answers), ['201 '])
        ids.push(...storedIds(answers))
      })
    }
  }
  t.equal(
    await client.db(service.namespace).collection('orders').countDocuments(),
    ids.length,
    'no order but those that were confirmed'
  )
  await assertExactlyOnce(t, { client, namespace: service.namespace, ids, collected, url: service.url })
})

t.test('an insert whose answer is lost is found, not repeated', async (t) => {
  const proxy = await startMongoProxy(t, mongo.port)
  const namespace = newNamespace()
  const service = await startService(
    t,
    { MONGO_URL: `mongodb://127.0.0.1:${proxy.port}/${namespace}?directConnection=true` },
    namespace
  )
  for (const count of [1, 40]) {
    proxy.cutAnswers('insert', count === 1 ? 1 : 2)
    const answers = await postMany(service, count)
    t.strictSame(outcomes(answers), ['201 '])
    t.equal(proxy.cutsLeft, 0, 'answers were lost')
  }
  t.equal(await client.db(namespace).collection('orders').countDocuments(), 41)
})

t.test('an insert that hangs is tried again elsewhere long before the deadline', async (t) => {
  const service = await start(t)
  await failCommand(t, client, ['insert'], { blockConnection: true, blockTimeMS: 8_000 }, { times: 1 })
  const began = performance.now()
  t.equal((await post(service.url)).status, 201)
  const took = performance.now() - began
  t.ok(took < 6_000, `answered after ${Math.round(took)} ms`)
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), 1)
})

t.test('an order that MongoDB refuses fails alone', async (t) => {
  const service = await start(t)
  await client.db(service.namespace).command({ collMod: 'orders', validator: { userId: { $ne: 'user-7' } } })
  const answers = await postMany(service, 40)
  t.strictSame(answers.flatMap(({ status }, index) => status === 201 ? [] : [[index, status]]), [[7, 500]])
  t.match(answers[7]!.headers.get('content-type'), 'application/problem+json')
  t.notMatch(answers[7]!.text, /valid/i, 'the reason is in the log, not in the answer')
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), 39)
})

t.test('a full disk is reported at once as nothing stored', async (t) => {
  const service = await start(t)
  await failCommand(t, client, ['insert'], { errorCode: 14031 }, 'alwaysOn')
  const began = performance.now()
  for (const { status, headers, body } of await postMany(service, 10)) {
    t.match(
      { status, retry: headers.get('retry-after'), code: body.code },
      { status: 503, retry: /^[0-9]+$/, code: 'NOT_STORED' }
    )
  }
  t.ok(performance.now() - began < 5_000, 'without waiting for the deadline')
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), 0)
})

t.test('while MongoDB fails for longer than the deadline every caller gets a 503 in time', async (t) => {
  const service = await start(t)
  await failCommand(t, client, ['insert'], { closeConnection: true }, 'alwaysOn')
  const began = performance.now()
  const answers = await postMany(service, 10)
  t.ok(performance.now() - began < 11_500, `answered after ${Math.round(performance.now() - began)} ms`)
  for (const { status, headers, body } of answers) {
    t.match({ status, type: headers.get('content-type'), retry: headers.get('retry-after'), code: body.code },
      { status: 503, type: 'application/problem+json', retry: /^[0-9]+$/, code: /^(NOT_STORED|OUTCOME_UNKNOWN)$/ })
  }
  t.equal(await client.db(service.namespace).collection('orders').countDocuments(), 0)
})

t.test('a MongoDB that hangs is reported within 11 s, and used again when it is back', async (t) => {
  const service = await start(t)
  t.equal((await post(service.url)).status, 201)
  mongo.pause()
  const began = performance.now()
  const answers = await postMany(service, 30)
  const took = performance.now() - began
  mongo.resume()
  t.ok(took < 11_500, `answered after ${Math.round(took)} ms`)
  // What never left the queue is known not to be stored.
  t.strictSame(outcomes(answers).filter((outcome) => !/^503 (OUTCOME_UNKNOWN|NOT_STORED)$/.test(outcome)), [])
  const unknown = answers.filter(({ body }) => body.code === 'OUTCOME_UNKNOWN').length
  t.ok(answers.every(({ headers }) => Number(headers.get('retry-after')) > 0))
  t.equal((await post(service.url)).status, 201)
  const stored = await client.db(service.namespace).collection('orders').countDocuments()
  t.ok(stored >= 2 && stored <= 2 + unknown, `${stored} orders: an unknown one is stored once or not at all`)
})
