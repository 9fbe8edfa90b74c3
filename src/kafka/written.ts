import type { Message, RecordMetadata } from 'kafkajs'

/**
 * kafkajs has resolved without having written a partition whose leader had moved (tulios/kafkajs#1798): each partition
 * must have been answered exactly once, otherwise nothing is committed. It can't see one that a second request has
 * written again, as that request's answer takes the place of the first one's; that there is none is up to
 * src/kafkajs/transactions.ts.
 */
export function assertWritten (
  topicMessages: { topic: string, messages: Message[] }[],
  answers: RecordMetadata[]
): void {
  const expected = new Set(
    topicMessages.flatMap(({ topic, messages }) => messages.map(({ partition }) => `${topic} ${partition}`))
  )
  const answered = answers
    .filter(({ errorCode }) => errorCode === 0)
    .map(({ topicName, partition }) => `${topicName} ${partition}`)
  if (
    answered.length !== expected.size ||
    answered.some((place) => !expected.has(place)) ||
    new Set(answered).size !== expected.size
  ) {
    throw new Error(
      `Kafka answered for the partitions [${answered.join(', ')}] instead of [${[...expected].join(', ')}]`
    )
  }
}
