import kafkajs, { type Admin } from 'kafkajs'
import { within } from '../../src/runtime/deadline.ts'
import { createKafka } from '../../src/kafka/client.ts'
import { electPreferredLeaders } from './elect-leaders.ts'
import { eventually } from './service.ts'

const nothing = (): void => {}
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }
const ANSWER_MS_MAX = 10_000
const SYNC_MS_MAX = 60_000

export interface Partition { topic: string, partition: number, leader: number, replicas: number[], isr: number[] }

/** What is asked of one broker only, for as long as that takes: those of before may be dead or hang. */
async function withAdmin<T> (urls: string[], use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = createKafka({ brokers: urls, clientId: 'bench', log }).admin()
  try {
    return await within(ANSWER_MS_MAX, 'the answer of a broker', admin.connect().then(() => use(admin)))
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Of all topics, those of Kafka's own too. */
export function readPartitions (urls: string[]): Promise<Partition[]> {
  return withAdmin(urls, async (admin) => {
    const { topics } = await admin.fetchTopicMetadata()
    return topics.flatMap(({ name, partitions }) => partitions.map(({ partitionId, leader, replicas, isr }) =>
      ({ topic: name, partition: partitionId, leader, replicas, isr })))
  })
}

/** Waits until every replica has all that its leader has. */
export async function inSync (urls: string[]): Promise<void> {
  const complete = ({ leader, replicas, isr }: Partition): boolean => leader >= 0 && isr.length === replicas.length
  await eventually('each replica in sync', SYNC_MS_MAX, () =>
    readPartitions(urls).then((partitions) => partitions.every(complete), () => false))
}

function find (partitions: Partition[], { topic, partition }: Partition): Partition {
  const found = partitions.find((candidate) => candidate.topic === topic && candidate.partition === partition)
  if (found === undefined) throw new Error(`there is no partition ${partition} of ${topic} any more`)
  return found
}

async function reassign (
  urls: string[], partitions: Partition[], to: (partition: Partition) => number[]
): Promise<void> {
  const topics = [...new Set(partitions.map(({ topic }) => topic))].map((topic) => ({
    topic,
    partitionAssignment: partitions.filter((member) => member.topic === topic)
      .map((member) => ({ partition: member.partition, replicas: to(member) }))
  }))
  await withAdmin(urls, (admin) => admin.alterPartitionReassignments({ topics }))
}

/**
 * Moves the leader of each partition to its next replica, by a preferred election.
 * @param only by default those of all topics
 * @returns when (performance.now()) the election began and when it had been held
 */
export async function moveLeaders (
  urls: string[], port: number, only?: string
): Promise<{ began: number, held: number }> {
  const partitions = (await readPartitions(urls)).filter(({ topic }) => only === undefined || topic === only)
  await reassign(urls, partitions, ({ leader, replicas }) => {
    const place = replicas.indexOf(leader)
    return [...replicas.slice(place + 1), ...replicas.slice(0, place + 1)]
  })
  const began = performance.now()
  await electPreferredLeaders(port)
  const held = performance.now()
  const moved = (now: Partition[]): boolean => partitions.every((before) => find(now, before).leader !== before.leader)
  await eventually('moved leaders', ANSWER_MS_MAX, () => readPartitions(urls).then(moved, () => false))
  return { began, held }
}

/** Takes each partition away from its leader and gives it back as a follower, which has to copy all of it. */
export async function moveReplicas (urls: string[]): Promise<void> {
  const partitions = await readPartitions(urls)
  const others = ({ leader, replicas }: Partition): number[] => replicas.filter((replica) => replica !== leader)
  await reassign(urls, partitions, others)
  const away = (now: Partition[]): boolean => partitions.every((before) => {
    const { leader, replicas } = find(now, before)
    return leader >= 0 && !replicas.includes(before.leader)
  })
  await eventually('other leaders', SYNC_MS_MAX, () => readPartitions(urls).then(away, () => false))
  await reassign(urls, partitions, (partition) => [...others(partition), partition.leader])
  await inSync(urls)
}

/** Where a move broke off, those brokers get the partitions that lack one of them. */
export async function giveBack (urls: string[], brokers: number[]): Promise<void> {
  let lacking: Partition[] = []
  await eventually('the partitions', SYNC_MS_MAX, () => readPartitions(urls).then((partitions) => {
    lacking = partitions.filter(({ replicas }) => replicas.length < brokers.length)
    return true
  }, () => false))
  if (lacking.length === 0) return
  const missing = ({ replicas }: Partition): number[] => brokers.filter((broker) => !replicas.includes(broker))
  await reassign(urls, lacking, (partition) => [...partition.replicas, ...missing(partition)])
}

/** How many replicas must have a record of the topic; without a number as many as the brokers' own settings say. */
export async function wantInSync (urls: string[], topic: string, replicas: number | undefined): Promise<void> {
  const configEntries = replicas === undefined ? [] : [{ name: 'min.insync.replicas', value: String(replicas) }]
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }]
  await withAdmin(urls, (admin) => admin.alterConfigs({ validateOnly: false, resources }))
}
