import { hostname } from 'node:os'

/** What a reason names so that its reader knows where to look. */
export interface KafkaContext {
  topic: string
  checkpointTopic: string
  transactionalId: string
  /** KAFKA_TOPIC_REPLICATION */
  replicationFactor: number
}

interface KafkaError {
  name: string
  message: string
  type?: string
  code?: string
  topic?: string
  broker?: string
  errors?: KafkaError[]
  cause?: unknown
}

/**
 * In one line why Kafka didn't do what the relay asked for: the topic, id, broker or setting, Kafka's own words, and
 * what to do.
 */
export function explainKafka (error: Error, context: KafkaContext): string {
  const { topic, checkpointTopic, transactionalId, replicationFactor } = context
  const { name, type, message, broker, errors } = rootOf(error)
  if (errors !== undefined) {
    return (
      errors.map((one) => `Kafka does not create the topic ${one.topic ?? topic}: ${one.message}`).join('; ') +
      hintFor(errors)
    )
  }
  // kafkajs doesn't say what the coordinator was refused for.
  if (name === 'KafkaJSGroupCoordinatorNotFound') {
    return `${message}: the user of KAFKA_USER needs the rights Describe and Write on the transactional id ${transactionalId}`
  }
  switch (type) {
    // A broker answers for all partitions of a transaction, and kafkajs takes the first answer, which may be that of
    // the topic with all rights.
    case 'TOPIC_AUTHORIZATION_FAILED': case 'OPERATION_NOT_ATTEMPTED':
      return `${message}: the user of KAFKA_USER needs the rights Describe, Read and Write on the topics ${topic} and ${checkpointTopic}`
    case 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED':
      return `${message}: the user of KAFKA_USER needs the rights Describe and Write on the transactional id ${transactionalId}`
    case 'CLUSTER_AUTHORIZATION_FAILED':
      return `${message}: the user of KAFKA_USER needs the right IdempotentWrite on the cluster, on brokers before 2.8`
    case 'MESSAGE_TOO_LARGE':
      return `${message}: the topic ${topic} or ${checkpointTopic} has a smaller max.message.bytes than before; smaller transactions are tried`
    case 'INVALID_TIMESTAMP':
      return `${message}: the clock of this host (${hostname()}) says ${new Date().toISOString()}, which Kafka takes for wrong: set the clock, or the topic's message.timestamp.after.max.ms`
    case 'NOT_ENOUGH_REPLICAS': case 'NOT_ENOUGH_REPLICAS_AFTER_APPEND':
      return `${message}: fewer replicas of ${topic} or ${checkpointTopic} are in sync than min.insync.replicas asks for, so brokers are missing`
    case 'INVALID_PRODUCER_EPOCH': case 'PRODUCER_FENCED': case 'INVALID_PRODUCER_ID_MAPPING':
      return `${message}: another process opened the transactional id ${transactionalId}; if that goes on, a copy of this MongoDB publishes to ${topic} too`
    case 'UNKNOWN_TOPIC_OR_PARTITION':
      return `${message}: ${topic} or ${checkpointTopic} was deleted, and is made again if this user may`
    default:
      return broker === undefined || message.includes(broker) ? message : `${message} (broker ${broker})`
  }

  function hintFor (errors: KafkaError[]): string {
    const types = errors.map(({ type }) => type)
    if (types.includes('INVALID_REPLICATION_FACTOR')) {
      return `. KAFKA_TOPIC_REPLICATION=${replicationFactor} asks for more brokers than there are`
    }
    if (types.some((type) => type?.endsWith('AUTHORIZATION_FAILED'))) {
      return `. If they are there, give the user of KAFKA_USER the rights Describe, Read and Write on them; otherwise create ${topic} and ${checkpointTopic} (1 partition, cleanup.policy=compact), or give the user the right Create too`
    }
    return ''
  }
}

export function isTooLarge (error: Error): boolean {
  return rootOf(error).type === 'MESSAGE_TOO_LARGE'
}

/** kafkajs wraps what it gave up for. */
function rootOf (error: KafkaError): KafkaError {
  const isWrapped = error.name.startsWith('KafkaJS') && error.errors === undefined && error.type === undefined
  return isWrapped && error.cause instanceof Error ? rootOf(error.cause as KafkaError) : error
}
