import type { Readable } from 'node:stream'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from 'kafkajs'
import { createOrderFeed, type FeedOptions, type OrderFeed } from '../../src/feed/feed.ts'
import { decodePosition, encodePosition } from '../../src/feed/position.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { createKafka } from '../../src/kafka/client.ts'
import type { Cluster } from '../../src/kafkajs/cluster.ts'
import { eventually, newNamespace, parts } from '../helper.ts'
import { startOwnPart } from '../support/faults.ts'
import { eventRecords } from '../support/feed.ts'
import { createLog, createTopic, kafka, put } from '../support/relays.ts'

const HEARTBEAT_MS = 60_000
/** For which a client's network takes a chunk. */
const CHUNK_MS = 10

async function newTopic (numPartitions = 3): Promise<string> {
  const topic = newNamespace()
  await createTopic({ topic, numPartitions })
  return topic
}

function newFeed (t: Test, topic: string, options: Partial<FeedOptions> = {}) {
  const { log, ...logged } = createLog()
  const counts = { cut: 0, shed: 0 }
  const observe = { feedCut () { counts.cut++ }, shed () { counts.shed++ } }
  const feed = createOrderFeed({ kafka, topic, clientsMax: 100, log, observe, heartbeatMs: HEARTBEAT_MS, ...options })
  t.teardown(() => feed.close())
  return { feed, counts, ...logged }
}

/** Opens a stream, and takes what it says. */
async function listen (feed: OrderFeed, after?: string, userId?: string) {
  const stream = await feed.open(after === undefined ? undefined : decodePosition(after), userId)
  const listener = {
    stream,
    text: '',
    get ids (): string[] { return [...listener.text.matchAll(/"orderId":"(\w+)"/g)].map(([, id]) => id!) },
    get lastId (): string { return [...listener.text.matchAll(/^id: (.+)$/gm)].at(-1)?.[1] ?? '' }
  }
  take(stream, (chunk) => { listener.text += chunk })
  await eventually(() => listener.text !== '', 10_000, 'its opening')
  return listener
}

function take (stream: Readable, onText: (text: string) => void): void {
  stream.setEncoding('utf8').on('data', onText).on('error', () => {})
}

const idsOf = (records: Message[]): string[] => records.map(({ key }) => String(key)).sort()

t.test('what a transaction holds back comes once it is committed, though it was begun before', async (t) => {
  const topic = await newTopic(1)
  const producer = kafka.producer({ transactionalId: topic, maxInFlightRequests: 1 })
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const [committed, aborted] = [eventRecords(3), eventRecords(3)]
  const first = await producer.transaction()
  await first.send({ topic, messages: aborted })
  await first.abort()
  const second = await producer.transaction()
  await second.send({ topic, messages: committed })
  const listener = await listen(newFeed(t, topic).feed)
  t.strictSame(listener.ids, [])
  await second.commit()
  await eventually(() => listener.ids.length >= 3, 10_000, 'the events')
  t.strictSame(listener.ids.sort(), idsOf(committed))
})

t.test('whoever is quiet hears a heartbeat with the place, which is another one for who filters', async (t) => {
  const topic = await newTopic()
  const { feed } = newFeed(t, topic, { heartbeatMs: 100 })
  const listener = await listen(feed, undefined, 'nobody')
  const start = listener.lastId
  await put(topic, eventRecords(5))
  await eventually(() => listener.lastId !== start, 10_000, 'another place')
  t.match(listener.text, /\n\n:\nid: /)
  t.strictSame(listener.ids, [])
  const later = await listen(feed, listener.lastId)
  await eventually(() => later.text.includes(':\n'), 10_000, 'a heartbeat')
  t.strictSame(later.ids, [], 'all that was before is behind it')
})

t.test('history that is longer than what is held comes at the pace of its reader, and then what is new', async (t) => {
  const topic = await newTopic()
  const { feed, counts } = newFeed(t, topic, { recentBytesMax: 20_000 })
  const start = (await listen(feed)).lastId
  const old = eventRecords(2_000)
  await put(topic, old)
  const stream = await feed.open(decodePosition(start), undefined)
  let text = ''
  stream.setEncoding('utf8')
  const slowly = async (): Promise<void> => {
    for await (const chunk of stream) {
      text += chunk
      await new Promise(setImmediate)
    }
  }
  slowly().catch(() => {})
  const ids = () => [...text.matchAll(/"orderId":"(\w+)"/g)].map(([, id]) => id!)
  const recent: Message[] = []
  for (let round = 0; round < 10; round++) {
    const some = eventRecords(100)
    recent.push(...some)
    await put(topic, some)
  }
  await eventually(() => ids().length >= old.length + recent.length, 20_000, 'all events')
  t.strictSame(ids().sort(), idsOf([...old, ...recent]))
  t.equal(counts.cut, 0, 'who reads history is not behind')
  stream.destroy()
})

t.test('who is behind and takes nothing is cut off, and goes on where it was', async (t) => {
  const topic = await newTopic()
  const { feed, counts } = newFeed(t, topic, { recentBytesMax: 100_000, stalledMs: 100 })
  const quick = await listen(feed)
  const slow = await feed.open(undefined, undefined)
  let text = ''
  slow.setEncoding('utf8').once('data', (chunk) => {
    text += chunk
    slow.pause()
  })
  await eventually(() => text !== '', 10_000, 'its opening')
  const all: Message[] = []
  const closed = once(slow, 'close').catch(() => {})
  while (!slow.destroyed) {
    const some = eventRecords(100)
    all.push(...some)
    await put(topic, some)
    if (all.length > 10_000) break
  }
  await closed
  t.equal(counts.cut, 1)
  t.equal(feed.count, 1)
  await eventually(() => quick.ids.length >= all.length, 10_000, 'all events for the other one')
  t.strictSame(quick.ids.sort(), idsOf(all))
  const again = await listen(feed, /id: (.+)/.exec(text)![1]!)
  await eventually(() => again.ids.length >= all.length, 10_000, 'all events')
  t.strictSame(again.ids.sort(), idsOf(all))
})

t.test('Kafka is read while somebody listens, and for a while after', async (t) => {
  const topic = await newTopic()
  const { feed } = newFeed(t, topic, { lingerMs: 300 })
  const sockets = () => process.getActiveResourcesInfo().filter((resource) => resource === 'TCPSocketWrap').length
  const before = sockets()
  const one = await listen(feed)
  const start = one.lastId
  t.ok(sockets() > before)
  one.stream.destroy()
  await eventually(() => feed.count === 0, 10_000, 'its end')
  const records = eventRecords(3)
  await put(topic, records)
  await eventually(() => sockets() <= before, 10_000, 'the end of the reading')
  const again = await listen(feed, start)
  await eventually(() => again.ids.length >= 3, 10_000, 'what came meanwhile')
  t.strictSame(again.ids.sort(), idsOf(records))
})

t.test('partitions that are added are read from their beginning', async (t) => {
  const topic = await newTopic(2)
  const { feed } = newFeed(t, topic, { metadataMs: 500 })
  const { lastId, stream } = await listen(feed)
  stream.destroy()
  await withAdmin(kafka, 'partitions', (admin) =>
    admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] }))
  const records = [0, 1, 2, 3].flatMap((partition) => eventRecords(2, { partition }))
  await eventually(() => put(topic, records).then(() => true, () => false), 10_000, 'the new partitions')
  const other = newFeed(t, topic).feed
  const listener = await listen(other, lastId)
  await eventually(() => listener.ids.length >= records.length, 10_000, 'all events')
  t.ok(new Set(idsOf(records)).size === new Set(listener.ids).size)
  const early = await listen(feed, listener.lastId)
  const more = [0, 1, 2, 3].flatMap((partition) => eventRecords(1, { partition }))
  await put(topic, more)
  await eventually(() => early.ids.length >= more.length, 40_000, 'events of all partitions')
  t.strictSame(early.ids.sort(), idsOf(more))
})

t.test('without the topic, or without Kafka, it says so at once or soon', async (t) => {
  const { feed, matching } = newFeed(t, newNamespace())
  for (let each = 0; each < 2; each++) {
    await t.rejects(feed.open(undefined, undefined), { code: 'FEED_UNAVAILABLE', statusCode: 503 })
  }
  t.strictSame(matching(/./).map(({ msg }) => msg), ["the live feed can't read Kafka: requests for it are refused"])
  t.equal(feed.count, 0)
})

t.test('Kafka goes away and comes back: the streams stay, and lose nothing', async (t) => {
  const part = await startOwnPart(t, 'kafka')
  const { log } = createLog()
  const own = createKafka({ brokers: [part.url], clientId: 'test', log })
  const topic = newNamespace()
  await withAdmin(own, 'a topic', (admin) => admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true }))
  const send = async (messages: Message[]): Promise<void> => {
    const producer = own.producer({ allowAutoTopicCreation: false })
    await producer.connect()
    await producer.send({ topic, messages })
    await producer.disconnect()
  }
  const { feed, matching } = newFeed(t, topic, { kafka: own, heartbeatMs: 100 })
  const listener = await listen(feed)
  const records = eventRecords(10)
  await send(records)
  await eventually(() => listener.ids.length === 10, 10_000, 'events')
  await part.kill()
  await eventually(() => matching(/can't read Kafka/).length > 0, 20_000, 'a line')
  const beats = listener.text.length
  await eventually(() => listener.text.length > beats, 10_000, 'heartbeats')
  await part.start()
  const more = eventRecords(10)
  await eventually(() => send(more).then(() => true, () => false), 40_000, 'Kafka')
  await eventually(() => listener.ids.length >= 20, 30_000, 'the events after it')
  t.strictSame(listener.ids.sort(), idsOf([...records, ...more]))
  t.strictSame(matching(/./).map(({ msg }) => msg), [
    "the live feed can't read Kafka: its clients wait, and lose nothing", 'the live feed goes on'
  ])
})

t.test('the topic is made anew: the streams end, and who comes back is told that the place is gone', async (t) => {
  const topic = await newTopic(1)
  const { feed, matching } = newFeed(t, topic)
  const listener = await listen(feed)
  await put(topic, eventRecords(20))
  await eventually(() => listener.ids.length === 20, 10_000, 'events')
  await withAdmin(kafka, 'the end of the topic', (admin) => admin.deleteTopics({ topics: [topic] }))
  await eventually(() => createTopic({ topic, numPartitions: 1 }).then(() => true, () => false), 20_000, 'a new topic')
  await put(topic, eventRecords(1))
  await eventually(() => listener.stream.destroyed, 20_000, 'the end of the stream')
  t.equal(matching(/made anew/).length, 1)
  await t.rejects(feed.open(decodePosition(listener.lastId), undefined), { code: 'FEED_POSITION_GONE', statusCode: 410 })
  const anew = await listen(feed)
  await put(topic, eventRecords(1))
  await eventually(() => anew.ids.length === 1, 10_000, 'what comes now')
})

t.test('who filters hears how far it is, while history has nothing for it', async (t) => {
  const topic = await newTopic()
  const { feed } = newFeed(t, topic, { recentBytesMax: 10_000 })
  const start = (await listen(feed)).lastId
  const records = eventRecords(3_000)
  await put(topic, records)
  const { feed: other } = newFeed(t, topic, { recentBytesMax: 10_000, heartbeatMs: 1 })
  const listener = await listen(other, start, 'nobody')
  const end = (await listen(other)).lastId
  await eventually(() => listener.lastId === end, 10_000, 'the end of history')
  const places = [...listener.text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)
  const midst = places.find((place) => place !== start && place !== end)!
  t.ok(midst, 'a place between')
  const rest = await listen(other, midst)
  await eventually(() => rest.lastId === end, 10_000, 'the rest')
  t.ok(rest.ids.length < records.length)
  t.strictSame(listener.ids, [])
})

/** Offsets as they come, or as `change` has them. */
function countingClusters (t: Test, change: (offset: number) => number = (offset) => offset) {
  const own = createKafka({ brokers: parts.kafkaBrokers.split(','), clientId: 'test', log: createLog().log })
  const create = Object.getOwnPropertySymbols(own).find(({ description }) => description?.endsWith('createCluster'))!
  const original = (own as unknown as Record<symbol, (options: object) => Cluster>)[create]!
  const clusters = t.capture(own as never, create as never, ((options: object) => {
    const cluster = original(options)
    const { fetchTopicsOffset } = cluster
    cluster.fetchTopicsOffset = async (topics) => (await fetchTopicsOffset.call(cluster, topics)).map((answer) => ({
      ...answer,
      partitions: topics[0]!.fromBeginning
        ? answer.partitions
        : answer.partitions.map((each) => ({ ...each, offset: String(change(Number(each.offset))) }))
    }))
    return cluster
  }) as never)
  /** Since it was last asked. */
  const count = (): number => clusters.args().length
  return { own, count }
}

t.test('a leader that does not know yet how far it goes makes no place one that is gone', async (t) => {
  const topic = await newTopic(1)
  await put(topic, eventRecords(10))
  let asked = 0
  const { own } = countingClusters(t, (offset) => ++asked <= 3 ? offset - 5 : offset)
  const { feed } = newFeed(t, topic, { kafka: own })
  const after = encodePosition([10])
  const listener = await listen(feed, after)
  const records = eventRecords(3)
  await put(topic, records)
  await eventually(() => listener.ids.length >= 3, 10_000, 'what came since')
  t.strictSame(listener.ids.sort(), idsOf(records))
})

t.test('a burst after silence cuts nobody off, and is not read by each client for itself', async (t) => {
  const topic = await newTopic()
  const { own, count } = countingClusters(t)
  const { feed, counts } = newFeed(t, topic, { kafka: own, stalledMs: 200 })
  const seen = await Promise.all(Array.from({ length: 8 }, async () => {
    const listener = { bytes: 0, ids: new Set<string>(), twice: 0 }
    const stream = await feed.open(undefined, undefined)
    const read = async (): Promise<void> => {
      for await (const chunk of stream) {
        listener.bytes += chunk.length
        for (const [, id] of String(chunk).matchAll(/"orderId":"(\w{24})"/g)) {
          if (listener.ids.has(id!)) listener.twice++
          listener.ids.add(id!)
        }
        await delay(CHUNK_MS)
      }
    }
    read().catch(() => {})
    await eventually(() => listener.bytes > 0, 10_000, 'its opening')
    return listener
  }))
  count()
  const records = eventRecords(20_000)
  for (let first = 0; first < records.length; first += 1_000) await put(topic, records.slice(first, first + 1_000))
  // An id in the midst of two chunks isn't counted.
  for (const listener of seen) {
    await eventually(() => listener.ids.size > 0.99 * records.length, 30_000, 'the events')
    t.equal(listener.twice, 0)
  }
  t.equal(counts.cut, 0)
  t.equal(count(), 0, 'no reader since')
})
