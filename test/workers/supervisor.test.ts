import { ObjectId } from 'mongodb'
import t from 'tap'
import { assertExactlyOnce, connectMongo, leads, startPosting, storedIds } from '../support/faults.ts'
import { collectEvents, eventually, metric, parts, post, request } from '../helper.ts'
import { isAlive, readyWorkers, startWorkers, WORKERS, workersOf } from '../support/worker-processes.ts'

/**
 * Each worker by what its request ids begin with. `fetch` keeps connections, so each request asks for one of its own.
 */
async function throughEachWorker (
  send: (headers: Record<string, string>) => Promise<{ headers: Headers }>
): Promise<void> {
  const seen = new Set<string>()
  await eventually(
    async () => {
      const { headers } = await send({ connection: 'close' })
      seen.add(headers.get('x-request-id')!.split('-')[0]!)
      return seen.size === WORKERS
    },
    10_000,
    'an answer of each worker'
  )
}

t.test('each worker takes orders, and reads those of the others', async (t) => {
  const { service, workers } = await startWorkers(t)
  t.equal(workers.length, WORKERS)
  let posts = 0
  let id = ''
  await throughEachWorker(async () => {
    posts++
    const answer = await post(service.url, undefined, { connection: 'close' })
    t.equal(answer.status, 201)
    id = answer.body._id
    return answer
  })
  await throughEachWorker(async (headers) => {
    const answer = await request(`${service.url}/${id}`, { headers })
    t.equal(answer.body._id, id)
    return answer
  })

  t.equal(await metric(service, 'orders_created_total'), posts, 'orders of all workers')
  t.equal(
    await metric(service, 'http_request_duration_seconds_count{method="POST",route="/",status_code="201"}'),
    posts
  )
  t.equal(await metric(service, 'service_ready'), 1)
  t.equal(await metric(service, 'service_workers_ready'), WORKERS)
  const { body } = await eventually(async () => {
    const answer = await request(`${service.operationsUrl}/readyz`)
    return answer.body.relay === 'leader' && answer.body.redis ? answer : undefined
  }, 30_000, 'a leader')
  t.strictSame(body as object, {
    status: 'ready',
    closing: false,
    mongodb: true,
    redis: true,
    relay: 'leader',
    workers: { ready: WORKERS, expected: WORKERS }
  })
  t.equal(await metric(service, 'relay_leader'), 1, 'one of them leads')
  await eventually(async () => await metric(service, 'relay_lag_events') === 0, 20_000, 'no lag')
  t.equal((await request(`${service.operationsUrl}/livez`)).status, 200)
  const text = await (await fetch(`${service.operationsUrl}/metrics`)).text()
  t.match(text, /^build_info\{.*\} 1$/m)
  t.match(text, /^process_start_time_seconds \d+/m)
})

t.test('an order fixed by hand shows on every worker within 5 s', async (t) => {
  const { service } = await startWorkers(t)
  const { body: { _id: id } } = await post(service.url)
  const read = (headers: Record<string, string>) => request(`${service.url}/${id}`, { headers })
  await throughEachWorker(read)
  const client = await connectMongo(t, parts.mongoUrl)
  await client
    .db(service.namespace)
    .collection('orders')
    .updateOne({ _id: new ObjectId(id) }, { $set: { userId: 'fixed' } })
  const fixed = new Set<string>()
  await eventually(async () => {
    const { headers, body } = await read({ connection: 'close' })
    const worker = headers.get('x-request-id')!.split('-')[0]!
    if (body.userId === 'fixed') fixed.add(worker)
    return fixed.size === WORKERS
  }, 5_000, 'the fix on each worker')
})

t.test('a killed worker is replaced while the others serve, and takes no order and no count with it', async (t) => {
  const { service } = await startWorkers(t)
  await eventually(() => leads(service), 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const posting = startPosting(t, () => service.url, 16)
  for (let rounds = 0; rounds < 2; rounds++) {
    const before = posting.told.length
    await eventually(() => posting.told.length > before + 300, 30_000, 'answers')
    const counted = (await metric(service, 'orders_created_total'))!
    const [victim] = workersOf(service)
    process.kill(victim!, 'SIGKILL')
    await eventually(() => !isAlive(victim!))
    t.ok((await metric(service, 'orders_created_total'))! >= counted, 'a counter never goes back')
    t.equal((await request(`${service.operationsUrl}/readyz`)).status, 200, 'ready all the time')
    await eventually(async () => await readyWorkers(service) === WORKERS, 30_000, 'a new worker')
    t.notOk(workersOf(service).includes(victim!))
  }
  const told = await posting.stop()
  t.strictSame(
    told.filter(({ status }) => status !== 201 && status !== 0),
    [],
    'only connections to the killed one broke'
  )
  t.equal(await metric(service, 'service_worker_ends_total'), 2)
  await assertExactlyOnce(t, {
    client: await connectMongo(t, parts.mongoUrl),
    namespace: service.namespace,
    ids: storedIds(told),
    collected,
    url: service.url
  })
})

t.test('a worker that hangs is replaced; one that goes on again is not', async (t) => {
  const { service, workers } = await startWorkers(t)
  const [victim] = workers
  process.kill(victim!, 'SIGSTOP')
  await eventually(async () => await readyWorkers(service) === WORKERS - 1, 10_000, 'one that does not answer')
  process.kill(victim!, 'SIGCONT')
  await eventually(async () => await readyWorkers(service) === WORKERS, 10_000, 'its answer')
  t.strictSame(workersOf(service).sort(), workers.toSorted(), 'nobody was replaced')

  process.kill(victim!, 'SIGSTOP')
  await eventually(() => !isAlive(victim!), 25_000, 'the end of the hung worker')
  await eventually(async () => await readyWorkers(service) === WORKERS, 30_000, 'a new worker')
  t.equal(await metric(service, 'service_worker_ends_total'), 1)
})
