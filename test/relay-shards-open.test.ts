import type { Kafka } from 'kafkajs'
import t from 'tap'
import { shardOf } from '../src/shards.ts'
import { assertSeenPlainly, subscribePlainly } from './faults.ts'
import { collectEvents, eventually } from './helper.ts'
import { assertOnce, newSetting, startInserting, startRelays } from './relays.ts'
import { kafka } from './tools.ts'

const SHARDS = 3
const ROUNDS = 8

/** A Kafka client of somebody who can die with his records written and not committed. */
function aMortal () {
  let dead = false
  const open: ((error: Error) => void)[] = []
  const producer: Kafka['producer'] = (config) => {
    const real = kafka.producer(config)
    return {
      ...real,
      async transaction () {
        const transaction = await real.transaction()
        let wrote = false
        return {
          ...transaction,
          async sendBatch (batch) {
            wrote ||= batch.topicMessages!.length > 1
            return await transaction.sendBatch(batch)
          },
          commit: () => dead ? new Promise((_resolve, reject) => { if (wrote) open.push(reject) }) : transaction.commit()
        }
      }
    }
  }
  return {
    kafka: { ...kafka, admin: () => kafka.admin(), consumer: (config) => kafka.consumer(config), producer } as Kafka,
    open,
    die () { dead = true },
    /** What he waited for failed, as he was fenced. */
    bury () { for (const reject of open) reject(new Error('fenced')) }
  }
}

t.test('all leaders die with open transactions, again and again: a subscriber with kafkajs as it comes sees each order once', async (t) => {
  const setting = await newSetting(t)
  let mortal = aMortal()
  let relays = startRelays(t, setting, SHARDS, 'relay0', { kafka: mortal.kafka })
  await relays.allLed()
  const collected = await collectEvents(t, setting.namespace)
  const plain = subscribePlainly(t, setting.namespace)
  const inserting = startInserting(t, setting.orders)
  for (let round = 1; round <= ROUNDS; round++) {
    const before = collected.events.length
    await eventually(() => collected.events.length > before + 50, 30_000, 'events')
    mortal.die()
    await eventually(() => mortal.open.length === SHARDS, 10_000, 'an open transaction of each shard')
    const [dead, next] = [{ mortal, relays }, aMortal()]
    // Without a lease in common they need not wait for the dead ones' to end. It is Kafka that keeps them apart.
    relays = startRelays(t, setting, SHARDS, `relay${round}`, { kafka: next.kafka })
    mortal = next
    await relays.allLed()
    dead.mortal.bury()
    await dead.relays.relays.stop()
  }
  await assertOnce(t, setting, await inserting.stop(), collected)
  await assertSeenPlainly(t, plain, collected)
  t.strictSame(plain.filter(({ key, partition }) => partition % SHARDS !== shardOf(key, SHARDS)).length, 0, 'each shard wrote to its own partitions')
})
