import fp from 'fastify-plugin'
import type { Kafka } from 'kafkajs'
import { openOrderEventsProducer, type OpenOrderEventsProducer } from '../src/kafka.ts'
import { createKafka, kafkaSettings } from '../src/kafka/client.ts'

/** Where events go. */
export interface OrderEvents {
  kafka: Kafka
  /**
   * Opens the transactional producer of order events and shuts out whichever was open before, also in another process.
   * So it is up to the relay that leads to open it, see src/relay/start.ts.
   */
  openProducer: OpenOrderEventsProducer
}

declare module 'fastify' {
  interface FastifyInstance { orderEvents: OrderEvents | undefined }
}

/** Kafka: the producer of order events. It connects nowhere before it is opened. */
export default fp(async (app) => {
  const { log, settings } = app
  app.decorate('orderEvents', undefined)
  if (settings.KAFKA_BROKERS === 'off') return
  const kafka = createKafka({ ...kafkaSettings(settings), clientId: 'order-service', log })
  app.orderEvents = {
    kafka,
    openProducer: (options) => openOrderEventsProducer({ kafka, topic: settings.KAFKA_TOPIC, ...options })
  }
}, { name: 'kafka', dependencies: ['settings', 'local-parts'] })
