import fp from 'fastify-plugin'
import type { Kafka, SASLOptions } from 'kafkajs'
import { createKafka } from '../src/kafka-client.ts'

declare module 'fastify' {
  interface FastifyInstance { kafka: Kafka | undefined }
}

/** The Kafka client. It connects nowhere by itself: its transactional producer is opened by the relay that leads, see src/relay.ts. */
export default fp(async (app) => {
  const { KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL, KAFKA_USER, KAFKA_PASSWORD } = app.settings
  app.decorate('kafka', undefined)
  if (KAFKA_BROKERS === 'off') return
  app.kafka = createKafka({
    brokers: KAFKA_BROKERS.split(/[\s,]+/).filter((broker) => broker !== ''),
    clientId: 'order-service',
    log: app.log,
    ssl: KAFKA_TLS === 'on',
    ...(KAFKA_SASL === 'off' ? {} : { sasl: { mechanism: KAFKA_SASL, username: KAFKA_USER, password: KAFKA_PASSWORD } as SASLOptions })
  })
}, { name: 'kafka', dependencies: ['settings', 'local-parts'] })
