import { Partitioners } from 'kafkajs'
import { ObjectId } from 'mongodb'
import t from 'tap'
import { createPartitionOf } from '../src/partition.ts'
import { shardOf } from '../src/shards.ts'

/** What any client of Kafka would choose, by kafkajs. */
const partitionOf = Partitioners.DefaultPartitioner()
const chosenByKafkajs = (key: string, partitions: number): number =>
  partitionOf({ topic: '', partitionMetadata: Array.from({ length: partitions }, () => ({})) as never, message: { key, value: null } })

t.test('a key has the partition that Kafka\'s clients give it', async (t) => {
  const keys = ['', 'a', 'ab', 'abc', 'abcd', 'abcde', '\u007f'.repeat(7), ...Array.from({ length: 2_000 }, () => new ObjectId().toHexString())]
  for (const partitions of [1, 2, 6, 7, 1_000]) {
    const ours = createPartitionOf(partitions)
    t.strictSame(keys.filter((key) => ours(key) !== chosenByKafkajs(key, partitions)), [], `of ${partitions} partitions`)
  }
})

t.test('several shards have partitions of their own, and use all of them evenly', async (t) => {
  const ids = Array.from({ length: 12_000 }, () => new ObjectId().toHexString())
  for (const [partitions, shards] of [[2, 2], [3, 2], [6, 2], [6, 3], [7, 3], [12, 5], [64, 64]] as const) {
    const partitionOf = createPartitionOf(partitions, shards)
    t.strictSame(ids.filter((id) => partitionOf(id) % shards !== shardOf(id, shards)), [], `${shards} shards own ${partitions} partitions`)
    const counts = Array.from({ length: partitions }, () => 0)
    const even = Array.from({ length: partitions }, (_value, partition) => {
      const share = ids.filter((id) => shardOf(id, shards) === partition % shards).length
      return share / Math.ceil((partitions - partition % shards) / shards)
    })
    for (const id of ids) counts[partitionOf(id)]!++
    t.ok(counts.every((count, partition) => Math.abs(count - even[partition]!) < even[partition]! * 0.1), `${counts.join(' ')} orders`)
  }
})

t.test('an order keeps its shard whatever the number of partitions, and has the partition that its counter says', async (t) => {
  const id = `${'0'.repeat(18)}00012c` // 300: the last byte is 44, so the shard is 2 of 3, and 300 / 3 = 100
  t.strictSame([3, 4, 6, 9, 12].map((partitions) => createPartitionOf(partitions, 3)(id)), [2, 2, 2, 5, 2])
})

t.test('more shards than partitions are refused, and it says what to do', async (t) => {
  t.throws(() => createPartitionOf(3, 4), { message: 'RELAY_SHARDS=4 is too many for the topic\'s partitions (3), as each shard needs one of its own: set it to 3 at most, or give the topic more partitions' })
  t.doesNotThrow(() => createPartitionOf(3, 3))
})
