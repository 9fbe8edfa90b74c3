import type { Kafka } from 'kafkajs'
import Connection from 'kafkajs/src/network/connection.js'
import type { FetchedPartition } from './aborted-records.ts'

/*
 * kafkajs reads records in consumer groups only. A group takes 3 s to be joined on brokers with default settings
 * (`group.initial.rebalance.delay.ms`, KIP-134), and rights to groups; to read a partition from its leader takes one
 * request. What kafkajs builds its consumers on can do that, but isn't public. Kafka's own clients call it `assign`;
 * remove this once kafkajs has it.
 */

export interface Cluster {
  connect: () => Promise<void>
  disconnect: () => Promise<void>
  addTargetTopic: (topic: string) => Promise<void>
  refreshMetadata: () => Promise<void>
  /** By the node that leads them. */
  findLeaderForPartitions: (topic: string, partitions: number[]) => Record<string, number[]>
  findTopicPartitionMetadata: (topic: string) => { partitionId: number }[]
  findBroker: (node: { nodeId: string }) => Promise<Broker>
  fetchTopicsOffset: (topics: { topic: string, partitions: { partition: number }[], fromBeginning: boolean }[]) =>
  Promise<{ partitions: { partition: number, offset: string }[] }[]>
}

interface Broker {
  fetch: (request: {
    isolationLevel: number
    maxWaitTime: number
    minBytes: number
    maxBytes: number
    topics: { topic: string, partitions: { partition: number, fetchOffset: string, maxBytes: number }[] }[]
  }) => Promise<{ responses: { partitions: FetchedPartition[] }[] }>
}

/*
 * Whoever reads several partitions at once asks kafkajs for several answers before the connection for them is there,
 * and kafkajs opens one for each of them: all but the last stay open when the cluster is left, until the broker closes
 * them after ten minutes.
 */
const connecting = new WeakMap<object, Promise<unknown>>()
const { connect } = Connection.prototype
Connection.prototype.connect = function () {
  const pending = connecting.get(this) ?? connect.call(this).finally(() => connecting.delete(this))
  connecting.set(this, pending)
  return pending
}

const CREATE_CLUSTER = 'private:Kafka:createCluster'

interface ClusterOptions {
  /** Where a partition ends: after the last finished transaction (true), or after all that was written to it. */
  committed?: boolean
}

/** An isolation level, as Kafka's protocol has it. */
export const READ_COMMITTED = 1

/**
 * Connections of their own to the brokers that lead a topic, to be left with `disconnect`.
 * @throws what kafkajs throws; then nothing is left open
 */
export async function openCluster (
  kafka: Kafka,
  topic: string,
  { committed = false }: ClusterOptions = {}
): Promise<Cluster> {
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description === CREATE_CLUSTER)
  const create = symbol && (kafka as unknown as Record<symbol, (options: object) => Cluster>)[symbol]
  if (create === undefined) {
    throw new Error('this kafkajs is built otherwise than 2.2.4: src/kafkajs/cluster.ts does not fit it')
  }
  const cluster = create({ allowAutoTopicCreation: false, ...(committed && { isolationLevel: READ_COMMITTED }) })
  try {
    await cluster.connect()
    await cluster.addTargetTopic(topic)
    return cluster
  } catch (error) {
    await cluster.disconnect().catch(() => {})
    throw error
  }
}

/** Connections of their own to the brokers that lead a topic, for as long as `use` takes. */
export async function withCluster<T> (
  kafka: Kafka,
  topic: string,
  use: (cluster: Cluster) => Promise<T>,
  options?: ClusterOptions
): Promise<T> {
  const cluster = await openCluster(kafka, topic, options)
  try {
    return await use(cluster)
  } finally {
    await cluster.disconnect().catch(() => {})
  }
}
