import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { NODES, WELL_BEHAVED, type Api, type Behaviour, type PartitionAt } from './behaviour.ts'
import { createPartitionLog, KAFKA_ERRORS, type Appended, type RecordState } from './partition-log.ts'
import {
  decodeBatch, encode, serveKafka, type Decoder, type Encoder, type Request, type WireServer
} from './wire.ts'

/*
 * Three brokers that speak as much of Kafka's protocol as one transactional producer needs, without a JVM: a real
 * cluster takes half a minute to start, and can't be told which broker is slow, refuses or goes away at which request.
 */

const UNTIL_MS_MAX = 10_000
/** Knows the transactions. */
const COORDINATOR = 3
const PRODUCER_ID = 7
/** Each API in the one version that is spoken here. */
const APIS: Record<Api, { key: number, version: number }> = {
  Produce: { key: 0, version: 7 },
  Metadata: { key: 3, version: 1 },
  FindCoordinator: { key: 10, version: 1 },
  ApiVersions: { key: 18, version: 1 },
  InitProducerId: { key: 22, version: 1 },
  AddPartitionsToTxn: { key: 24, version: 1 },
  EndTxn: { key: 26, version: 1 }
}
const NAMES = new Map(Object.entries(APIS).map(([name, { key }]) => [key, name as Api]))

type Answers = Record<Api, (node: number, body: Decoder) => Encoder | undefined | Promise<Encoder | undefined>>

export type KafkaBrokers = Awaited<ReturnType<typeof startKafkaBrokers>>

/** @param topics how many partitions each has; partition p is led by broker 1 + p % 3 until it is moved */
export async function startKafkaBrokers (
  t: Test, topics: Record<string, number>, initial: Partial<Behaviour> = {}, host = '127.0.0.1'
) {
  const behaviour: Behaviour = { ...WELL_BEHAVED, ...initial }
  const partitions = new Map(Object.entries(topics)
    .map(([topic, count]) => [topic, Array.from({ length: count }, newPartition)]))
  const servers: WireServer[] = []
  /** All that was asked, in the order in which it came. */
  const requests: { node: number, api: Api }[] = []
  /** How often the producer was told to ask again. */
  let refused = 0
  let epoch = -1
  let completeAt = 0
  let atWork = 0
  const changed = new EventEmitter()
  const open = new Set<string>()

  const answers: Answers = {
    ApiVersions () {
      const ranges = Object.values(APIS)
        .map(({ key, version }) => encode().writeInt16(key).writeInt16(version).writeInt16(version))
      return encode().writeInt16(0).writeArray(ranges).writeInt32(0)
    },

    Metadata (_node, body) {
      const asked = body.readArray((name) => name.readString()) ?? []
      const nodes = NODES.map((id) => address(id).writeString(null))
      const described = asked.map((topic) => encode().writeInt16(0).writeString(topic).writeBoolean(false)
        .writeArray(partitions.get(topic)!.map(({ leader }, partition) =>
          encode().writeInt16(0).writeInt32(partition).writeInt32(leader).writeArray(NODES).writeArray(NODES))))
      return encode().writeArray(nodes).writeInt32(NODES[0]!).writeArray(described)
    },

    FindCoordinator: () => encode().writeInt32(0).writeInt16(0).writeString(null).writeEncoder(address(COORDINATOR)),

    /** Aborts what is open in a higher epoch, and has the producer ask again until that is done. */
    InitProducerId () {
      if (open.size > 0) end(++epoch, 'aborted')
      const code = isCompleting() ? KAFKA_ERRORS.CONCURRENT_TRANSACTIONS : 0
      if (code !== 0) refused++
      return encode().writeInt32(0).writeInt16(code).writeInt64(PRODUCER_ID).writeInt16(code === 0 ? ++epoch : -1)
    },

    AddPartitionsToTxn (node, body) {
      body.readString()
      body.readInt64()
      const ofEpoch = body.readInt16()
      const wanted = body.readArray((each) => (
        { topic: each.readString(), partitions: each.readArray((one) => one.readInt32())! }
      ))!
      const places = wanted.flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })))
      let code = isCompleting() ? KAFKA_ERRORS.CONCURRENT_TRANSACTIONS : 0
      for (const place of places) code ||= behaviour.refuses('AddPartitionsToTxn', node, place)
      if (ofEpoch < epoch) code = KAFKA_ERRORS.INVALID_PRODUCER_EPOCH
      if (code !== 0) refused++
      else for (const { topic, partition } of places) open.add(`${topic} ${partition}`)
      return encode().writeInt32(0).writeArray(wanted.map(({ topic, partitions }) => encode().writeString(topic)
        .writeArray(partitions.map((partition) => encode().writeInt32(partition).writeInt16(code)))))
    },

    EndTxn (_node, body) {
      body.readString()
      body.readInt64()
      const ofEpoch = body.readInt16()
      const commits = body.readBoolean()
      if (ofEpoch < epoch) return encode().writeInt32(0).writeInt16(KAFKA_ERRORS.INVALID_PRODUCER_EPOCH)
      end(epoch, commits ? 'committed' : 'aborted')
      return encode().writeInt32(0).writeInt16(0)
    },

    async Produce (node, body) {
      const closes = behaviour.closes(node)
      await pause(behaviour.hangsMs(node))
      if (closes === 'unwritten') return undefined
      body.readString()
      body.readInt16()
      body.readInt32()
      const written: Encoder[] = []
      for (let left = body.readInt32(); left > 0; left--) {
        const topic = body.readString()
        const places: Encoder[] = []
        for (let left = body.readInt32(); left > 0; left--) {
          const partition = body.readInt32()
          const batch = body.slice(body.readInt32())
          body.forward(batch.buffer.length)
          const { code, offset } = await append(node, { topic, partition }, batch)
          places.push(encode().writeInt32(partition).writeInt16(code).writeInt64(offset).writeInt64(-1).writeInt64(0))
        }
        written.push(encode().writeString(topic).writeArray(places))
      }
      await pause(behaviour.produceMs(node))
      return closes === 'written' ? undefined : encode().writeArray(written).writeInt32(behaviour.throttleMs)
    }
  }

  async function append (node: number, place: PartitionAt, batch: Decoder): Promise<Appended> {
    const { leader, log } = partitionAt(place)
    const code = leader === node ? behaviour.refuses('Produce', node, place) : KAFKA_ERRORS.NOT_LEADER_FOR_PARTITION
    return code === 0 ? log.append(await decodeBatch(batch)) : { code, offset: -1 }
  }

  function end (markerEpoch: number, state: RecordState): void {
    for (const place of open) {
      const [topic, partition] = place.split(' ') as [string, string]
      partitionAt({ topic, partition: Number(partition) }).log.end(markerEpoch, state)
    }
    open.clear()
    completeAt = performance.now() + behaviour.completesMs()
  }

  const isCompleting = (): boolean => performance.now() < completeAt
  const partitionAt = ({ topic, partition }: PartitionAt) => partitions.get(topic)![partition]!
  const address = (node: number): Encoder =>
    encode().writeInt32(node).writeString(host).writeInt32(servers[NODES.indexOf(node)]!.port)

  async function answer (node: number, { apiKey, bytes, body }: Request): Promise<Encoder | undefined> {
    const api = NAMES.get(apiKey)
    if (api === undefined) throw new Error(`a request of API ${apiKey}, which these brokers don't speak`)
    requests.push({ node, api })
    atWork++
    try {
      await pause(behaviour.wayMs() + bytes / behaviour.bytesPerSecond * 1000)
      return await answers[api](node, body)
    } finally {
      atWork--
      changed.emit('change')
    }
  }

  async function until (condition: () => boolean): Promise<void> {
    while (!condition()) await once(changed, 'change', { signal: AbortSignal.timeout(UNTIL_MS_MAX) })
  }

  for (const node of NODES) {
    const changes = (): void => { changed.emit('change') }
    servers.push(await serveKafka((request) => answer(node, request), (error) => t.error(error), changes, host))
  }
  t.teardown(() => Promise.all(servers.map((server) => server.close())))

  return {
    behaviour,
    requests,
    brokers: servers.map(({ port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`),
    get refused (): number { return refused },
    get connections (): number { return servers.reduce((sum, { connections }) => sum + connections, 0) },

    /** Waits for a condition that holds after some answer, or after a connection has ended. */
    until,

    /** Waits until no request is left that has come and is not answered. */
    idle: (): Promise<void> => until(() => atWork === 0),

    /** Of all partitions, in no order between them. */
    keysOf: (topic: string, state: RecordState): string[] => partitions.get(topic)!
      .flatMap(({ log }) => log.records.filter((record) => record.state === state).map(({ key }) => key)),

    /** From now on metadata names the new leader, and the old one refuses. */
    moveLeader (place: PartitionAt, to: number): void {
      partitionAt(place).leader = to
    }
  }
}

const newPartition = (_: unknown, partition: number) =>
  ({ leader: NODES[partition % NODES.length]!, log: createPartitionLog() })

/** Not even a turn of the loop where nothing is to be waited for. */
async function pause (ms: number): Promise<void> {
  if (ms > 0) await delay(ms)
}
