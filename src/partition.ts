import { shardOf } from './shards.ts'

/*
 * Where an order's record goes. One relay goes Kafka's own way from a key to its partition, as all its clients go it: who asks where
 * an order's record would be, or joins another topic with the same keys, need not know this service.
 *
 * Several relays must not write to the same partition. Where the transactions of two producers overlap in one, and both are aborted,
 * subscribers with kafkajs are shown records of them (src/kafkajs-aborted.ts), and the order's event then comes once more. So each
 * shard owns the partitions p with p % n = its index, and spreads its orders over them by their ids' counter. The shard itself never
 * depends on how many partitions there are.
 */

const SEED = 0x9747b28c
const MULTIPLIER = 0x5bd1e995

/** The last digits of an id, which its maker counts up. */
const COUNTER_DIGITS = 6

/**
 * @returns the partition of each key, as long as the topic has so many and the orders so many shards. Keys are ASCII, and with
 * several shards they are ids of orders.
 * @throws where a shard would have no partition
 */
export function createPartitionOf (partitions: number, shards = 1): (key: string) => number {
  if (shards === 1) return (key) => (murmur2(key) & 0x7fffffff) % partitions
  if (shards > partitions) throw new Error(`RELAY_SHARDS=${shards} is too many for the topic's partitions (${partitions}), as each shard needs one of its own: set it to ${partitions} at most, or give the topic more partitions`)
  return (id) => {
    const shard = shardOf(id, shards)
    const owned = Math.ceil((partitions - shard) / shards)
    const turn = Math.floor(Number.parseInt(id.slice(-COUNTER_DIGITS), 16) / shards)
    return shard + shards * (turn % owned)
  }
}

/** murmur2 as in Kafka's Utils.java. That of kafkajs takes 2 µs for the id of an order, as it calculates with 64 bits. */
function murmur2 (key: string): number {
  const { length } = key
  const whole = length & ~3
  let hash = SEED ^ length
  for (let at = 0; at < whole; at += 4) {
    let word = key.charCodeAt(at) | key.charCodeAt(at + 1) << 8 | key.charCodeAt(at + 2) << 16 | key.charCodeAt(at + 3) << 24
    word = Math.imul(word, MULTIPLIER)
    word = Math.imul(word ^ word >>> 24, MULTIPLIER)
    hash = Math.imul(hash, MULTIPLIER) ^ word
  }
  if (length > whole) {
    for (let at = length - 1; at >= whole; at--) hash ^= key.charCodeAt(at) << 8 * (at - whole)
    hash = Math.imul(hash, MULTIPLIER)
  }
  hash = Math.imul(hash ^ hash >>> 13, MULTIPLIER)
  return hash ^ hash >>> 15
}
