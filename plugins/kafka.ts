import fp from 'fastify-plugin'
import type { Kafka } from 'kafkajs'
import { createKafka, kafkaSettings } from '../src/kafka-client.ts'

declare module 'fastify' {
  interface FastifyInstance { kafka: Kafka | undefined }
}

/** The Kafka client. It connects nowhere by itself: its transactional producer is opened by the relay that leads, see src/relay.ts. */
export default fp(async (app) => {
  app.decorate('kafka', undefined)
  if (app.settings.KAFKA_BROKERS === 'off') return
  app.kafka = createKafka({ ...kafkaSettings(app.settings), clientId: 'order-service', log: app.log })
}, { name: 'kafka', dependencies: ['settings', 'local-parts'] })
