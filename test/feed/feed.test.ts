import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import type { Message } from 'kafkajs'
import { decodePosition, encodePosition } from '../../src/feed/position.ts'
import { withAdmin } from '../../src/kafka/admin.ts'
import { createKafka } from '../../src/kafka/client.ts'
import { eventually, newNamespace } from '../helper.ts'
import { startOwnPart } from '../support/faults.ts'
import { eventRecords, idsOf, kafkaWith, listen, newFeed, newTopic, putAll, readWithPauses } from '../support/feed.ts'
import { createLog, createTopic, kafka, put } from '../support/relays.ts'

/** For which a client's network takes a chunk. */
const CHUNK_MS = 10

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
  const seen = () => [...new Set(listener.ids)].sort() // an attempt that failed may have stored some
  await eventually(() => seen().length >= records.length, 10_000, 'all events')
  t.strictSame(seen(), idsOf(records))
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

t.test('a leader that does not know yet how far it goes makes no place one that is gone', async (t) => {
  const topic = await newTopic(1)
  await put(topic, eventRecords(10))
  let asked = 0
  const lagging = kafkaWith(t, (cluster) => {
    const { fetchTopicsOffset } = cluster
    cluster.fetchTopicsOffset = async (topics) => {
      const answers = await fetchTopicsOffset.call(cluster, topics)
      if (topics[0]!.fromBeginning || ++asked > 3) return answers
      return answers.map(({ partitions, ...rest }) => ({
        ...rest, partitions: partitions.map((each) => ({ ...each, offset: String(Number(each.offset) - 5) }))
      }))
    }
  })
  const { feed } = newFeed(t, topic, { kafka: lagging })
  const after = encodePosition([10])
  const listener = await listen(feed, after)
  const records = eventRecords(3)
  await put(topic, records)
  await eventually(() => listener.ids.length >= 3, 10_000, 'what came since')
  t.strictSame(listener.ids.sort(), idsOf(records))
})

t.test('a burst after silence cuts nobody off, and is not read by each client for itself', async (t) => {
  const topic = await newTopic()
  let clusters = 0
  const counting = kafkaWith(t, () => { clusters++ })
  const { feed, counts } = newFeed(t, topic, { kafka: counting, stalledMs: 200 })
  const listeners = await Promise.all(Array.from({ length: 8 }, async () => {
    const listener = readWithPauses(await feed.open(undefined, undefined), () => delay(CHUNK_MS))
    await eventually(() => listener.text !== '', 10_000, 'its opening')
    return listener
  }))
  const before = clusters
  const records = eventRecords(20_000)
  await putAll(topic, records)
  const end = `"orderId":"${String(records.at(-1)!.key)}"`
  for (const listener of listeners) {
    await eventually(() => listener.text.includes(end), 30_000, 'the last event')
    await eventually(() => listener.ids.length >= records.length, 30_000, 'the events')
    t.strictSame(listener.ids.sort(), idsOf(records))
  }
  t.equal(counts.cut, 0)
  t.equal(clusters, before, 'no reader since')
})

t.test('a broker that fails beside others is one line in the log, and one more when all answer again', async (t) => {
  const topic = await newTopic()
  let failing = false
  const twoBrokers = kafkaWith(t, (cluster) => {
    const { findLeaderForPartitions, findBroker } = cluster
    cluster.findLeaderForPartitions = (name, partitions) => {
      const leaders = findLeaderForPartitions.call(cluster, name, partitions)
      const [[nodeId, all]] = Object.entries(leaders) as [[string, number[]]]
      return { [nodeId]: all.filter((each) => each === 0), failing: all.filter((each) => each !== 0) }
    }
    cluster.findBroker = async ({ nodeId }) => {
      if (nodeId === 'failing' && failing) throw new Error('the broker is away')
      const [[known]] = Object.entries(findLeaderForPartitions.call(cluster, topic, [0])) as [[string, number[]]]
      return await findBroker.call(cluster, { nodeId: known })
    }
  })
  const { feed, matching } = newFeed(t, topic, { kafka: twoBrokers })
  const listener = await listen(feed)
  failing = true
  const records: Message[] = []
  for (let round = 0; round < 10; round++) {
    const some = eventRecords(1, { partition: 0 })
    records.push(...some)
    await put(topic, some)
    await eventually(() => listener.ids.length === records.length, 10_000, 'what the other broker has')
  }
  t.strictSame(matching(/./).map(({ msg }) => msg), ["the live feed can't read Kafka: its clients wait, and lose nothing"])
  failing = false
  await eventually(() => matching(/goes on/).length === 1, 10_000, 'another line')
  const last = eventRecords(3, { partition: 2 })
  await put(topic, last)
  await eventually(() => listener.ids.length === records.length + last.length, 10_000, 'the rest')
  t.strictSame(listener.ids.sort(), idsOf([...records, ...last]))
})

t.test('closing the feed ends a start that waits for a broker that hangs', async (t) => {
  const hanging = createServer().listen(0, '127.0.0.1')
  await once(hanging, 'listening')
  t.teardown(() => hanging.close())
  const { port } = hanging.address() as AddressInfo
  const own = createKafka({ brokers: [`127.0.0.1:${port}`], clientId: 'test', log: createLog().log })
  const { feed, matching } = newFeed(t, 'orders', { kafka: own })
  const opened = t.rejects(feed.open(undefined, undefined), { code: 'FEED_UNAVAILABLE' })
  await once(hanging, 'connection')
  const first = await Promise.race([feed.close().then(() => 'closed'), delay(2_000, 'waits', { ref: false })])
  t.equal(first, 'closed')
  await opened
  t.strictSame(matching(/./), [])
})
