import type { Consumer, ConsumerConfig, Kafka } from 'kafkajs'

export interface EndableConsumer {
  consumer: Consumer
  /** Finishes the batch at hand, leaves the group and disconnects. The consumer is not to be used again. */
  end: () => Promise<void>
  readonly ended: boolean
}

/**
 * A consumer of committed records that stays where it was ended: kafkajs reports a crash before it sets its timer for
 * beginning again, so one that crashed while it was stopped would come back and keep the process alive.
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

/** kafkajs itself sends none while a batch is dealt with. It sends these no more often than it means to, every 3 s. */
const HEARTBEAT_MS = 1_000

/** Keeps this member in its group. A heartbeat fails when the group changes, which kafkajs looks at after the batch. */
export async function whileAlive (heartbeat: () => Promise<void>, work: () => Promise<void>): Promise<void> {
  const timer = setInterval(() => { heartbeat().catch(() => {}) }, HEARTBEAT_MS)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
}
