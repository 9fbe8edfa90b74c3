import { Kafka, logLevel } from 'kafkajs'

/*
 * A subscriber that knows nothing of this service: kafkajs as it comes, without src/kafkajs/aborted-records.ts. One
 * line for each record. node test/support/plain-subscriber.js BROKERS TOPIC
 */

const [brokers, topic] = process.argv.slice(2)
const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 20 } })
const consumer = kafka.consumer({ groupId: `${topic}.plain.${process.pid}`, readUncommitted: false, maxWaitTimeInMs: 100 })
await consumer.connect()
await consumer.subscribe({ topic, fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ partition, message: { offset, key } }) => { process.stdout.write(`${partition} ${offset} ${key}\n`) }
})
