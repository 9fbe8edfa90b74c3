import { randomUUID } from 'node:crypto'
import type { KafkaMessage } from 'kafkajs'
import t, { type Test } from 'tap'
import { audit } from '../../tools/audit-run.ts'
import { replay } from '../../tools/replay-run.ts'
import { readRanges, topicRanges } from '../../src/kafka/topic-reader.ts'
import { aNewOrder, collectEvents, eventually, newNamespace, post, startService } from '../helper.ts'
import { kafka, run } from '../support/tools.ts'

/** A leader that has told `count` orders of the users user-0, user-1 and user-2 in turn. */
async function startLeader (t: Test, count: number) {
  const service = await startService(t)
  await eventually(() => service.api.relay?.leads, 30_000, 'a leader')
  const collected = await collectEvents(t, service.namespace)
  const ids: string[] = []
  for (let i = 0; i < count; i++) {
    ids.push((await post(service.url, { ...aNewOrder, userId: `user-${i % 3}` })).body._id)
  }
  await collected.forOrders(ids)
  return { ...service, ids }
}

/** All that is on a topic, by key; a key that is there twice fails. */
async function recordsOn (topic: string): Promise<Map<string, KafkaMessage>> {
  const records: KafkaMessage[] = []
  await readRanges({
    kafka,
    topic,
    ranges: await topicRanges(kafka, topic),
    signal: new AbortController().signal,
    onRecord: (message) => {
      records.push(message)
    }
  })
  const byKey = new Map(records.map((message) => [String(message.key), message]))
  if (byKey.size !== records.length) throw new Error(`${records.length} records of ${byKey.size} orders`)
  return byKey
}

function headersOf ({ headers = {} }: KafkaMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

t.test(
  'history goes to a side topic with the keys and values of the first time and a header that says so',
  async (t) => {
    const { namespace, ids } = await startLeader(t, 12)
    const to = `${namespace}.side-${randomUUID()}`
    const { code, out, err } = await run(replay, namespace, ['--to', to], { KAFKA_TOPIC_PARTITIONS: 4 })
    t.equal(code, 0, err)
    t.equal(out, `12 events sent to ${to}, the last one is ${ids.toSorted().at(-1)}\n`)
    t.equal((await topicRanges(kafka, to)).length, 4, 'the topic is made as the settings say')
    const [first, again] = [await recordsOn(namespace), await recordsOn(to)]
    t.strictSame([...again.keys()].toSorted(), ids.toSorted())
    for (const id of ids) {
      t.equal(String(again.get(id)!.value), String(first.get(id)!.value))
      t.strictSame(headersOf(again.get(id)!), { ...headersOf(first.get(id)!), replay: 'true' })
    }
    t.equal((await (await collectEvents(t, to)).forOrders(ids)).length, 12, 'the typed consumer takes them')
  }
)

t.test('only what is asked for is sent: a user, a time, what comes after an order', async (t) => {
  const { namespace, ids } = await startLeader(t, 9)
  const sorted = ids.toSorted()
  const sent = async (...args: string[]): Promise<string[]> => {
    const to = `${namespace}.side-${randomUUID()}`
    const { code, err } = await run(replay, namespace, ['--to', to, ...args])
    if (code !== 0) throw new Error(err)
    return [...(await recordsOn(to)).keys()].toSorted()
  }
  t.strictSame(await sent('--user', 'user-1'), ids.filter((_, index) => index % 3 === 1).toSorted())
  t.strictSame(await sent('--after', sorted[3]!), sorted.slice(4))
  t.strictSame(await sent('--after', sorted[3]!.toUpperCase(), '--user', 'nobody'), [])
  t.strictSame(await sent('--since', new Date(Date.now() + 60_000).toISOString()), [])
  t.strictSame(await sent('--until', new Date(Date.now() - 60_000).toISOString()), [])
  t.strictSame(await sent('--since', new Date(Date.now() - 60_000).toISOString()), sorted)
})

t.test('no more records are sent in a second than --rate says', async (t) => {
  const { namespace } = await startLeader(t, 12)
  const to = `${namespace}.side-${randomUUID()}`
  const begun = performance.now()
  t.equal((await run(replay, namespace, ['--to', to, '--rate', '10'])).code, 0)
  t.ok(performance.now() - begun > 1_000, 'twelve, the first at once, take 1.1 s')
  const times = [...(await recordsOn(to)).values()].map(({ timestamp }) => Number(timestamp))
  t.ok(Math.max(...times) - Math.min(...times) > 1_000, 'evenly')
})

t.test('what was interrupted says where to go on, and goes on there', async (t) => {
  const { namespace, ids } = await startLeader(t, 12)
  const to = `${namespace}.side-${randomUUID()}`
  const ending = new AbortController()
  const running = run(replay, namespace, ['--to', to, '--rate', '4'], {}, ending.signal)
  await eventually(
    async () => (await topicRanges(kafka, to).catch(() => [])).some(({ high }) => high > 0),
    20_000,
    'a first record'
  )
  ending.abort()
  const { code, err } = await running
  t.equal(code, 2)
  const [, sent, last] = /it was asked to end: (\d+) sent; go on with --after ([0-9a-f]{24})\n$/.exec(err)!
  t.equal((await recordsOn(to)).size, Number(sent))
  t.ok(Number(sent) < 12)
  t.equal((await run(replay, namespace, ['--to', to, '--after', last!])).code, 0)
  t.strictSame([...(await recordsOn(to)).keys()].toSorted(), ids.toSorted(), 'each once')
})

t.test('the main topic gets no replay unless it is named, and the audit tells replays from duplicates', async (t) => {
  const { namespace, ids } = await startLeader(t, 3)
  const refused = await run(replay, namespace, ['--rate', '10'])
  t.equal(refused.code, 2)
  t.match(refused.err, /^--to must name the topic to send to: .* Usage: npm run replay.*\n$/)
  t.equal((await recordsOn(namespace)).size, 3)

  t.equal((await run(replay, namespace, ['--to', namespace])).code, 0)
  await t.rejects(recordsOn(namespace), { message: '6 records of 3 orders' })
  const { code, out } = await run(audit, namespace, ['--json', '--grace', '0'])
  t.equal(code, 0)
  t.match(JSON.parse(out), { clean: true, records: 6, orders: ids.length, replayed: 3, duplicate: { count: 0 } })
})

t.test('wrong use is one line and exit code 2', async (t) => {
  const WRONG: [args: string[], line: RegExp][] = [
    [['--to', 'a topic'], /^--to must be a topic/],
    [['--to', 'order-events.checkpoints'], /^--to must be a topic .* not the relay's own/],
    [['--to', 'x', '--rate', '0'], /^--rate must be a number of records a second from 1 to 100000\. Usage/],
    [['--to', 'x', '--rate', 'fast'], /^--rate must be/],
    [['--to', 'x', '--after', '12'], /^--after must be an order id/],
    [['--to', 'x', '--since', '12'], /^--since must be a time/],
    [['--to'], /--to.* Usage/]
  ]
  for (const [args, line] of WRONG) {
    const { code, out, err } = await run(replay, newNamespace(), args)
    t.strictSame([code, out], [2, ''])
    t.match(err, line)
    t.equal(err.split('\n').length, 2)
  }
})
