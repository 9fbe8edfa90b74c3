import fp from 'fastify-plugin'
import type { Kafka } from 'kafkajs'
import { createKafka } from '../src/kafka-client.ts'

declare module 'fastify' {
  interface FastifyInstance { kafka: Kafka | undefined }
}

/** The Kafka client. It connects nowhere by itself: its transactional producer is opened by the relay that leads, see src/relay.ts. */
export default fp(async (app) => {
  const { KAFKA_BROKERS } = app.settings
  const brokers = KAFKA_BROKERS.split(/[\s,]+/).filter((broker) => broker !== '')
  app.decorate('kafka', KAFKA_BROKERS === 'off' ? undefined : createKafka({ brokers, clientId: 'order-service', log: app.log }))
}, { name: 'kafka', dependencies: ['settings', 'local-parts'] })
