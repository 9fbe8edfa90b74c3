import { createRequire } from 'node:module'
import t from 'tap'
import '../../src/kafka/client.ts'
import {
  createIsAborted,
  hideAborted,
  type AbortedTransaction,
  type FetchedRecord
} from '../../src/kafkajs/aborted-records.ts'
import { createRandom } from '../../bench/clients/random.ts'
import { subscribePlainly } from '../support/faults.ts'
import { eventually, newNamespace } from '../helper.ts'
import { put } from '../support/relays.ts'
import { kafka } from '../support/tools.ts'
import { readRanges, topicRanges } from '../../src/kafka/topic-reader.ts'

type Filter = (partition: { messages: FetchedRecord[], abortedTransactions: AbortedTransaction[] }) => FetchedRecord[]

const require = createRequire(import.meta.url)
/** kafkajs' own. */
const filterAborted = require('kafkajs/src/consumer/filterAbortedMessages.js') as Filter
/** kafkajs' own way from what was fetched to what a consumer is handed. */
const Batch = require('kafkajs/src/consumer/batch.js') as new (
  topic: string,
  offset: string,
  partition: object
) => { messages: FetchedRecord[], lastOffset: () => string, isEmpty: () => boolean }

const markerOf = (type: number): Buffer => Buffer.from([0, 0, 0, type])
const [ABORT, COMMIT] = [markerOf(0), markerOf(1)]
const record = (offset: number, producerId: string, key: string): FetchedRecord => ({
  offset: String(offset),
  key: Buffer.from(key),
  isControlRecord: false,
  batchContext: { producerId, inTransaction: true }
})
const marker = (offset: number, producerId: string, key: Buffer): FetchedRecord => ({
  ...record(offset, producerId, ''),
  key,
  isControlRecord: true
})
const keysOf = (records: FetchedRecord[]): string[] =>
  records.filter(({ isControlRecord }) => !isControlRecord).map(({ key }) => String(key))

/** Two that overlap, of which the second ends first; then one that is committed. */
const messages = (): FetchedRecord[] => [
  record(0, 'A', 'a'), record(1, 'B', 'b'), record(2, 'A', 'a'), record(3, 'B', 'b'),
  marker(4, 'B', ABORT), marker(5, 'A', ABORT),
  record(6, 'A', 'committed'), marker(7, 'A', COMMIT)
]
const abortedTransactions: AbortedTransaction[] = [
  { producerId: 'B', firstOffset: '1' },
  { producerId: 'A', firstOffset: '0' }
]

function ours (messages: FetchedRecord[], aborted: AbortedTransaction[]): FetchedRecord[] {
  const isAborted = createIsAborted(aborted)
  return messages.filter((each) => !isAborted(each))
}

t.test('of two aborted transactions that overlap kafkajs shows a record, ours none', async (t) => {
  t.strictSame(keysOf(filterAborted({ messages: messages(), abortedTransactions })), ['a', 'committed'])
  t.strictSame(keysOf(ours(messages(), abortedTransactions)), ['committed'])
})

t.test('reading may begin in the midst of them', async (t) => {
  const left = messages().slice(3)
  t.strictSame(keysOf(ours(left, abortedTransactions)), ['committed'])
})

t.test('a consumer is handed what is left, and still knows how far it has read', async (t) => {
  const partition = { partition: 0, highWatermark: '20', messages: messages(), abortedTransactions }
  hideAborted(partition)
  const batch = new Batch('topic', '0', partition)
  t.strictSame([keysOf(batch.messages), batch.lastOffset()], [['committed'], '7'])
  const early = { partition: 0, highWatermark: '20', messages: messages().slice(0, 4), abortedTransactions }
  hideAborted(early)
  const without = new Batch('topic', '0', early)
  t.strictSame(
    [without.isEmpty(), without.lastOffset()],
    [true, '3'],
    'also where nothing but aborted records was fetched'
  )
})

t.test('without aborted transactions nothing is touched', async (t) => {
  for (const none of [undefined, null, []]) {
    const abortedTransactions = none === undefined ? {} : { abortedTransactions: none }
    const partition = { partition: 0, messages: messages(), ...abortedTransactions }
    hideAborted(partition)
    t.strictSame(partition.messages, messages())
  }
})

t.test('whatever overlaps, and wherever reading begins', async (t) => {
  const random = createRandom(11)
  const wrong = { ours: 0, kafkajs: 0 }
  for (let round = 0; round < 500; round++) {
    const producers = ['A', 'B', 'C', 'D']
    const log: FetchedRecord[] = []
    const ended: (AbortedTransaction & { end: number })[] = []
    const expected = new Set<FetchedRecord>()
    const open = new Map<string, FetchedRecord[]>()
    const end = (id: string): void => {
      const records = open.get(id)!
      open.delete(id)
      const commits = random.chance(0.4)
      if (commits) for (const each of records) expected.add(each)
      else ended.push({ producerId: id, firstOffset: records[0]!.offset, end: log.length })
      log.push(marker(log.length, id, commits ? COMMIT : ABORT))
    }
    while (log.length < 40) {
      const id = random.pick(producers)
      if (open.has(id) && random.chance(0.3)) end(id)
      else {
        const one = record(log.length, id, `${id}${log.length}`)
        log.push(one)
        open.set(id, [...open.get(id) ?? [], one])
      }
    }
    for (const id of [...open.keys()]) end(id)
    const start = random.below(log.length)
    const fetched = log.slice(start)
    const aborted = ended.filter((each) => each.end >= start) // what the broker names
    const right = keysOf(fetched.filter((each) => expected.has(each)))
    if (keysOf(ours(fetched, aborted)).join() !== right.join()) wrong.ours++
    if (keysOf(filterAborted({ messages: fetched, abortedTransactions: aborted })).join() !== right.join()) {
      wrong.kafkajs++
    }
  }
  t.comment('wrong of 500', wrong)
  t.equal(wrong.ours, 0)
  t.ok(wrong.kafkajs > 0)
})

t.test(
  'on a real topic: after two aborted transactions that overlap our consumers see only what was committed',
  async (t) => {
    const topic = newNamespace()
    const admin = kafka.admin()
    await admin.connect()
    await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
    await admin.disconnect()
    const producers = ['a', 'b'].map((name) =>
      kafka.producer({ transactionalId: `${topic}.${name}`, maxInFlightRequests: 1 })
    )
    await Promise.all(producers.map((producer) => producer.connect()))
    t.teardown(() => Promise.all(producers.map((producer) => producer.disconnect())))
    const [a, b] = await Promise.all(producers.map((producer) => producer.transaction()))
    for (const round of [1, 2]) {
      await a!.send({ topic, messages: [{ key: `a${round}`, value: '' }] })
      await b!.send({ topic, messages: [{ key: `b${round}`, value: '' }] })
    }
    await b!.abort()
    await eventually(
      async () => (await topicRanges(kafka, topic))[0]!.high === 5,
      20_000,
      'the marker of b, which its coordinator writes after its answer'
    )
    await a!.abort()
    await put(topic, [{ key: 'committed', value: '' }])

    const ranges = await topicRanges(kafka, topic)
    let keys: string[] = []
    const read = async (): Promise<boolean> => {
      keys = []
      await readRanges({
        kafka,
        topic,
        ranges,
        signal: new AbortController().signal,
        onRecord: ({ key }) => {
          keys.push(String(key))
        }
      })
      return true
    }
    await eventually(() => read().catch(() => false), 60_000, 'a Kafka that has loaded its groups')
    t.strictSame(keys, ['committed'])
    const plain = subscribePlainly(t, topic)
    await eventually(() => plain.some(({ key }) => key === 'committed'), 60_000, 'the committed record')
    t.strictSame(
      plain.map(({ key }) => key),
      ['a1', 'committed'],
      'kafkajs as it comes shows one more'
    )
  }
)
