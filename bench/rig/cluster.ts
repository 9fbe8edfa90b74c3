import { join } from 'node:path'
import { MongoClient, type Db, type Document } from 'mongodb'
import { REPLICA_SET, findMongo, mongoRecipe } from '../../local/mongo.ts'
import { startPart, type Part } from '../../local/part.ts'
import { releasePorts } from '../../local/ports.ts'
import { relayNames } from '../../src/relay/checkpoint/checkpoint.ts'
import { within } from '../../src/runtime/deadline.ts'
import { originName, RELAY_COLLECTION, type OriginDocument } from '../../src/mongo/lease.ts'
import { startBrokers } from './brokers.ts'
import { atEnd, startParts } from './parts.ts'
import { eventually } from './service.ts'
import { startProxy, type Proxy } from './proxy.ts'

const TOPIC = 'order-events'
const DATABASE = 'orders'
const MEMBERS = 3
/**
 * MongoDB's own defaults are 10 s, 2 s and 10 s, and Kafka's for a silent broker 9 s: a campaign would mostly wait for
 * elections, and for new primaries that wait for hung ones.
 */
const ELECTIONS = {
  default: {},
  quick: { electionTimeoutMillis: 2_000, heartbeatIntervalMillis: 500, heartbeatTimeoutSecs: 2 }
}
const ANSWER_MS_MAX = 2_000
const PRIMARY_MS_MAX = 60_000

export interface Member { part: Part, proxy: Proxy, client: MongoClient, admin: Db }

export type Cluster = Awaited<ReturnType<typeof startCluster>>

/**
 * A replica set of three mongods, Redis, and Kafka as one broker or three. The set's members and Redis are known by the
 * ports of proxies, as a driver goes where the set's configuration says, so that their connections can be cut.
 */
export async function startCluster (dir: string, elections: keyof typeof ELECTIONS, brokerCount = 1) {
  const { file } = await findMongo(process.env, { begin: (title) => console.log(title), line () {} })
  const members = await Promise.all(
    Array.from({ length: MEMBERS }, (_value, index) => startMember(join(dir, `mongo-${index}`), file))
  )
  const redis = (await startParts({ dir, parts: ['redis'], fresh: true })).parts.redis!
  const brokers = await startBrokers(join(dir, 'brokers'), brokerCount, elections)
  const redisProxy = await startProxy(redis.port)
  atEnd(async () => redisProxy.end())

  await members[0]!.admin.command({
    replSetInitiate: {
      _id: REPLICA_SET,
      members: members.map(({ proxy }, _id) => ({ _id, host: `127.0.0.1:${proxy.port}` })),
      settings: ELECTIONS[elections]
    }
  })

  /**
   * The member that is primary now. One that was paused takes itself for it until it hears of its successor: the newer
   * term counts.
   */
  async function primary (): Promise<Member> {
    let found: Member | undefined
    await eventually('a primary', PRIMARY_MS_MAX, async () => {
      let term = ''
      for (const member of members) {
        const answer = member.part.exited ? undefined : await ask(member, { hello: 1 }).catch(() => undefined)
        if (answer?.isWritablePrimary !== true || String(answer.electionId) < term) continue
        term = String(answer.electionId)
        found = member
      }
      return found !== undefined
    })
    return found!
  }

  await primary()
  return {
    members,
    redis,
    brokers,
    redisProxy,
    primary,
    ask,
    urls: {
      mongo: `mongodb://${members.map(({ proxy }) => `127.0.0.1:${proxy.port}`).join(',')}/orders?replicaSet=${REPLICA_SET}`,
      redis: `redis://127.0.0.1:${redisProxy.port}`,
      kafka: brokers.url
    },
    /** Undoes what a fault that broke off may have left. */
    /** The broker that coordinates the relay's transactions. */
    async coordinator (): Promise<Part> {
      const { client } = await primary()
      const origin = await client
        .db(DATABASE)
        .collection<OriginDocument>(RELAY_COLLECTION)
        .findOne({ _id: originName(TOPIC) })
      return await brokers.coordinator(relayNames(TOPIC, DATABASE, origin!.source).transactionalId)
    },
    async heal (): Promise<void> {
      for (const { part, proxy } of [...members, { part: redis, proxy: redisProxy }]) {
        proxy.open()
        part.resume()
      }
      await Promise.all([...[...members.map(({ part }) => part), redis].map((part) => part.start()), brokers.heal()])
    }
  }
}

async function startMember (dir: string, file: string): Promise<Member> {
  const part = await startPart(mongoRecipe(dir, file, process.env, { mongoReplicaSet: 'member' }))
  const proxy = await startProxy(part.port)
  const client = new MongoClient(`mongodb://127.0.0.1:${part.port}/?directConnection=true`, {
    serverSelectionTimeoutMS: ANSWER_MS_MAX,
    appName: 'bench'
  })
  atEnd(async () => {
    await client.close()
    proxy.end()
    await part.kill()
    releasePorts(dir)
  })
  return { part, proxy, client, admin: client.db('admin') }
}

/** A command to one member, whatever it takes itself for. */
export function ask ({ admin }: Member, command: Document): Promise<Document> {
  return within(ANSWER_MS_MAX, 'the answer of a mongod', admin.command(command))
}
