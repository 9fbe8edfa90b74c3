/** A lie for the checker: nobody fences the leader before, so that it commits when it wakes up. */
import { Kafka } from 'kafkajs'

const producer = Kafka.prototype.producer
Kafka.prototype.producer = function (config) {
  return producer.call(
    this,
    config?.transactionalId === undefined
      ? config
      : { ...config, transactionalId: `${config.transactionalId}.${process.pid}` }
  )
}
