import { Kafka, logLevel, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs'
import type { Settings } from '../../schemas/settings.ts'
import '../kafkajs/aborted-records.ts'
import { seedOf } from '../kafkajs/ipv6-seeds.ts'
import '../kafkajs/listed-offsets.ts'
import '../kafkajs/record-encoding.ts'
import '../kafkajs/request-timer.ts'
import '../kafkajs/transactions.ts'
import type { Logger } from '../runtime/logger.ts'
import { withoutSecrets } from '../settings/secrets.ts'
import { brokersIn } from '../settings/urls.ts'

const CONNECT_MS_MAX = 3_000
const REQUEST_MS_MAX = 10_000

export interface KafkaOptions {
  brokers: string[]
  clientId: string
  log: Logger
  ssl?: KafkaConfig['ssl']
  sasl?: KafkaConfig['sasl']
}

/** The one place where kafkajs is configured: short waits, bounded retries, and its log lines go where ours go. */
export function createKafka ({ brokers, clientId, log, ...security }: KafkaOptions): Kafka {
  return new Kafka({
    brokers,
    clientId,
    ...security,
    connectionTimeout: CONNECT_MS_MAX,
    requestTimeout: REQUEST_MS_MAX,
    // A transaction right after a commit is refused for a few ms: start there instead of at the default of 300.
    retry: { initialRetryTime: 5, multiplier: 2, factor: 0.2, maxRetryTime: 1_000, retries: 9 },
    logLevel: logLevel.WARN,
    // It reports each retry as an error. Whoever uses it says what failed and what follows, once; this is for looking
    // closer.
    logCreator: () => ({ namespace, log: { message, timestamp: _timestamp, ...fields } }: LogEntry) => {
      log.debug({ ...fields, kafkajs: namespace }, withoutSecrets(message))
    }
  })
}

/** What the settings say about Kafka. */
export function kafkaSettings ({
  KAFKA_BROKERS,
  KAFKA_TLS,
  KAFKA_SASL,
  KAFKA_USER,
  KAFKA_PASSWORD
}: Settings): Omit<KafkaOptions, 'clientId' | 'log'> {
  return {
    brokers: brokersIn(KAFKA_BROKERS).map(seedOf),
    ssl: KAFKA_TLS === 'on',
    ...(KAFKA_SASL === 'off'
      ? {}
      : { sasl: { mechanism: KAFKA_SASL, username: KAFKA_USER, password: KAFKA_PASSWORD } as SASLOptions })
  }
}
