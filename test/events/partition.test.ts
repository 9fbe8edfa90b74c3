import { Partitioners } from 'kafkajs'
import { ObjectId } from 'mongodb'
import t from 'tap'
import { createPartitionOf } from '../../src/events/partition.ts'

/** What any client of Kafka would choose, by kafkajs. */
const partitionOf = Partitioners.DefaultPartitioner()
const chosenByKafkajs = (key: string, partitions: number): number =>
  partitionOf({
    topic: '',
    partitionMetadata: Array.from({ length: partitions }, () => ({})) as never,
    message: { key, value: null }
  })

t.test("a key has the partition that Kafka's clients give it", async (t) => {
  const keys = [
    '',
    'a',
    'ab',
    'abc',
    'abcd',
    'abcde',
    '\u007f'.repeat(7),
    ...Array.from({ length: 2_000 }, () => new ObjectId().toHexString())
  ]
  for (const partitions of [1, 2, 6, 7, 1_000]) {
    const ours = createPartitionOf(partitions)
    t.strictSame(
      keys.filter((key) => ours(key) !== chosenByKafkajs(key, partitions)),
      [],
      `of ${partitions} partitions`
    )
  }
})
