import { pino } from 'pino'
import { createKafka } from '../src/kafka/client.ts'
import { startOrderEventsConsumer } from '../src/kafka.ts'

/*
 * A subscriber of the order events: `KAFKA_BROKERS=127.0.0.1:9192 node dist/examples/subscribe.js`
 *
 * Each order is on the topic once, but a subscriber that crashes between its work and its commit gets the batch again.
 * So what it does should be idempotent by the order's id (`ce_id`), as a unique key in its own database.
 */

const log = pino()
const kafka = createKafka({
  brokers: (process.env.KAFKA_BROKERS ?? '127.0.0.1:9192').split(','),
  clientId: 'example',
  log
})
const consumer = await startOrderEventsConsumer({
  kafka,
  groupId: 'example',
  onBatch: async (events) => {
    for (const { event, headers } of events) {
      log.info(
        {
          orderId: event.orderId,
          userId: event.userId,
          lines: event.products.length,
          traceparent: headers.traceparent
        },
        event.type
      )
    }
  }
})
process.once('SIGINT', () => consumer.stop())
