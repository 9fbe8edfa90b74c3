import { Kafka, logLevel, type KafkaConfig, type LogEntry, type SASLOptions } from 'kafkajs'
import Broker from 'kafkajs/src/broker/index.js'
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'
import type { Settings } from '../schemas/settings.ts'
import './kafkajs-aborted.ts'
import './kafkajs-encoding.ts'
import './kafkajs-transactions.ts'
import type { Logger } from './log.ts'

/*
 * kafkajs arms a timer for each connection again and again, every millisecond, even when nothing waits: ≈ 4 % of a core each.
 * https://github.com/tulios/kafkajs/pull/1755. Remove this once a release has it. Requests that wait only for a free place in
 * flight are sent when an answer comes; the timer matters for those that wait out a broker's throttling.
 */
const scheduleCheck = RequestQueue.prototype.scheduleCheckPendingRequests
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.pending.length > 0) scheduleCheck.call(this)
}

/*
 * What kafkajs' admin calls the high offset is where the last finished transaction ends, as its requests ask for committed records
 * unless told otherwise. Whoever must see all that was written before asks for what its name says: the high watermark, which
 * Kafka's own admin client gives. Consumers say themselves what they want.
 */
const READ_UNCOMMITTED = 0
const { listOffsets } = Broker.prototype
Broker.prototype.listOffsets = function (request) {
  return listOffsets.call(this, { ...request, isolationLevel: request.isolationLevel ?? READ_UNCOMMITTED })
}
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
    // It reports each retry as an error. Whoever uses it says what failed and what follows, once; this is for looking closer.
    logCreator: () => ({ namespace, log: { message, timestamp: _timestamp, ...fields } }: LogEntry) => {
      log.debug({ ...fields, kafkajs: namespace }, message)
    }
  })
}

/** What the settings say about Kafka. */
export function kafkaSettings ({ KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL, KAFKA_USER, KAFKA_PASSWORD }: Settings): Omit<KafkaOptions, 'clientId' | 'log'> {
  return {
    brokers: KAFKA_BROKERS.split(/[\s,]+/).filter((broker) => broker !== ''),
    ssl: KAFKA_TLS === 'on',
    ...(KAFKA_SASL === 'off' ? {} : { sasl: { mechanism: KAFKA_SASL, username: KAFKA_USER, password: KAFKA_PASSWORD } as SASLOptions })
  }
}
