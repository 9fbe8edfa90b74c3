import type { Consumer, ConsumerConfig, Kafka } from 'kafkajs'

export interface EndableConsumer {
  consumer: Consumer
  /** Finishes the batch at hand, leaves the group and disconnects. The consumer is not to be used again. */
  end: () => Promise<void>
  readonly ended: boolean
}

/**
 * A consumer of committed records that stays where it was ended: kafkajs tells of a crash before it sets its timer for beginning
 * again, so one that crashed while it was stopped would come back and keep the process alive.
 */
export function createConsumer (kafka: Kafka, config: ConsumerConfig): EndableConsumer {
  const consumer = kafka.consumer({ readUncommitted: false, allowAutoTopicCreation: false, ...config })
  let ended = false
  consumer.on(consumer.events.CRASH, () => {
    if (ended) setImmediate(() => consumer.stop().catch(() => {}))
  })
  return {
    consumer,
    end () {
      ended = true
      return consumer.disconnect()
    },
    get ended () { return ended }
  }
}
