import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from 'kafkajs'
import { FETCH_BYTES_MAX } from '../../src/feed/history.ts'
import { decodePosition } from '../../src/feed/position.ts'
import { eventually } from '../helper.ts'
import {
  eventRecords, idsOf, kafkaWith, listen, newFeed, newTopic, placesIn, putAll, readWithPauses
} from '../support/feed.ts'
import { put } from '../support/relays.ts'

t.test('history that is longer than what is held comes at the pace of its reader, and then what is new', async (t) => {
  const topic = await newTopic()
  const { feed, counts } = newFeed(t, topic, { recentBytesMax: 20_000 })
  const start = (await listen(feed)).lastId
  const old = eventRecords(2_000)
  await put(topic, old)
  const stream = await feed.open(decodePosition(start), undefined)
  const reader = readWithPauses(stream, () => new Promise(setImmediate))
  const recent: Message[] = []
  for (let round = 0; round < 10; round++) {
    const some = eventRecords(100)
    recent.push(...some)
    await put(topic, some)
  }
  await eventually(() => reader.ids.length >= old.length + recent.length, 20_000, 'all events')
  t.strictSame(reader.ids.sort(), idsOf([...old, ...recent]))
  t.equal(counts.cut, 0, 'a client that reads history is not cut off for being behind')
  stream.destroy()
})

t.test('a client with a filter learns its position while history has nothing for it', async (t) => {
  const topic = await newTopic()
  const { feed } = newFeed(t, topic, { recentBytesMax: 10_000 })
  const start = (await listen(feed)).lastId
  const records = eventRecords(3_000)
  await put(topic, records)
  const { feed: other } = newFeed(t, topic, { recentBytesMax: 10_000, heartbeatMs: 1 })
  const listener = await listen(other, start, 'nobody')
  const end = (await listen(other)).lastId
  await eventually(() => listener.lastId === end, 10_000, 'the end of history')
  const places = placesIn(listener.text)
  const midst = places.find((place) => place !== start && place !== end)!
  t.ok(midst, 'a place between')
  const rest = await listen(other, midst)
  await eventually(() => rest.lastId === end, 10_000, 'the rest')
  t.ok(rest.ids.length < records.length)
  t.strictSame(listener.ids, [])
})

/** A Kafka client that counts the reads of history, and makes some of them fail. */
function kafkaOfHistory (t: Test) {
  const seen = { fetches: 0, failing: 0 }
  const kafka = kafkaWith(t, (cluster) => {
    const { findBroker } = cluster
    cluster.findBroker = async (node) => {
      const broker = await findBroker.call(cluster, node)
      const fetch: typeof broker.fetch = async (request) => {
        if (request.maxBytes === FETCH_BYTES_MAX) {
          seen.fetches++
          if (seen.failing-- > 0) throw new Error('the leader is another one')
        }
        return await broker.fetch(request)
      }
      return Object.assign(Object.create(broker), { fetch })
    }
  })
  return { kafka, seen }
}

/** A topic with events, and the id before them. */
async function withHistory (t: Test, count: number) {
  const topic = await newTopic()
  const { feed } = newFeed(t, topic)
  const start = (await listen(feed)).lastId
  await feed.close()
  const records = eventRecords(count)
  await putAll(topic, records)
  return { topic, start, records }
}

t.test('clients that resume near the same position share what is read', async (t) => {
  const { topic, start, records } = await withHistory(t, 6_000)
  const { kafka, seen } = kafkaOfHistory(t)
  const { feed } = newFeed(t, topic, { kafka })
  const first = await listen(feed, start)
  await eventually(() => first.ids.length >= records.length, 20_000, 'all events')
  const alone = seen.fetches
  t.ok(alone > 10)
  const { feed: other } = newFeed(t, topic, { kafka })
  const places = placesIn(first.text).slice(0, 30)
  seen.fetches = 0
  const listeners = await Promise.all(places.map((place) => listen(other, place)))
  for (const [index, listener] of listeners.entries()) {
    const all = first.ids.slice(index)
    await eventually(() => listener.ids.length >= all.length, 20_000, 'all events')
    t.strictSame(listener.ids.sort(), all.sort())
  }
  t.ok(seen.fetches < 2 * alone + places.length, `${seen.fetches} reads for ${places.length} clients, ${alone} for one`)
})

t.test('a client that has left takes no turn', async (t) => {
  const { topic, start, records } = await withHistory(t, 6_000)
  const { kafka, seen } = kafkaOfHistory(t)
  const first = await listen(newFeed(t, topic, { kafka }).feed, start)
  await eventually(() => first.ids.length >= records.length, 20_000, 'all events')
  const place = placesIn(first.text).at(-100)!
  const { feed } = newFeed(t, topic, { kafka })
  seen.failing = Infinity // every client waits
  const leaving = await Promise.all(Array.from({ length: 90 }, () => listen(feed, start)))
  for (const { stream } of leaving) stream.destroy()
  await eventually(() => feed.count === 0, 10_000, 'their end')
  seen.fetches = 0
  seen.failing = 0
  const listener = await listen(feed, place)
  await eventually(() => listener.ids.length >= 99, 20_000, 'the last events')
  t.strictSame(listener.ids.sort(), first.ids.slice(-99).sort())
  t.ok(seen.fetches < 10, `${seen.fetches} reads`)
})

t.test('a client that reads history while Kafka is away waits, gets heartbeats and loses nothing', async (t) => {
  const { topic, start, records } = await withHistory(t, 3_000)
  const { kafka, seen } = kafkaOfHistory(t)
  const { feed, matching } = newFeed(t, topic, { kafka, heartbeatMs: 50 })
  seen.failing = 5
  const listener = await listen(feed, start)
  await eventually(() => listener.text.includes('\n:\n'), 10_000, 'a heartbeat')
  t.strictSame(listener.ids, [])
  await eventually(() => listener.ids.length > 0, 10_000, 'the first events')
  seen.failing = 2
  await eventually(() => listener.ids.length >= records.length, 20_000, 'all events')
  t.strictSame(listener.ids.sort(), idsOf(records))
  t.notOk(listener.stream.destroyed)
  t.equal(matching(/can't read what clients have missed/).length, 1)
})

t.test('a slow client does not slow down the others', async (t) => {
  const topic = await newTopic(12)
  const { feed, counts } = newFeed(t, topic)
  const quick = await listen(feed)
  let pauseMs = 100
  const slow = readWithPauses(await feed.open(undefined, undefined), () => delay(pauseMs))
  const records = eventRecords(30_000)
  await putAll(topic, records)
  await eventually(() => quick.text.length > 0 && quick.ids.length >= records.length, 60_000, 'all events')
  t.ok(slow.ids.length < records.length / 2, 'the slow one is far behind')
  pauseMs = 0
  await eventually(() => slow.ids.length >= records.length, 60_000, 'all events for the slow one')
  t.strictSame(slow.ids.sort(), idsOf(records))
  t.equal(counts.cut, 0)
})
