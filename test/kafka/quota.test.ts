import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { findKafka } from '../../local/kafka-programs.ts'
import { createKafka } from '../../src/kafka/client.ts'
import { toDocument } from '../../src/models.ts'
import { aNewOrder, collectEvents, parts } from '../helper.ts'
import { idsOf, newSetting, startLeading, TRACEPARENT } from '../support/relays.ts'

const silent = { debug () {}, info () {}, warn () {}, error () {} }
/** All at once takes Kafka longer than a transaction may. */
const QUOTA_BYTES = 150_000

/** Kafka's own tool, as kafkajs can't set quotas. */
async function setQuota (clientId: string, bytesPerSecond: number): Promise<void> {
  const { java, libs } = await findKafka(process.env, { begin () {}, line () {} } as never)
  const quota = [
    '--alter',
    '--add-config',
    `producer_byte_rate=${bytesPerSecond}`,
    '--entity-type',
    'clients',
    '--entity-name',
    clientId
  ]
  await promisify(execFile)(
    java,
    [
      '-XX:+UseSerialGC',
      '-cp',
      join(libs, '*'),
      'kafka.admin.ConfigCommand',
      '--bootstrap-server',
      parts.kafkaBrokers,
      ...quota
    ],
    { cwd: '/' }
  ) // Java can't work in a folder whose name its locale lacks
}

t.test('a backlog of large orders gets through a producer quota, in transactions that shrink', async (t) => {
  const setting = await newSetting(t)
  await setQuota(setting.namespace, QUOTA_BYTES)
  const products = Array.from({ length: 60 }, () => ({ _id: 'x'.repeat(100), quantity: 1 }))
  const orders = Array.from({ length: 240 }, () => toDocument({ ...aNewOrder, products }, TRACEPARENT))
  await setting.orders.insertMany(orders)
  const transactions: number[] = []
  const { told } = await startLeading(t, setting, {
    kafka: createKafka({ brokers: parts.kafkaBrokers.split(','), clientId: setting.namespace, log: silent }),
    observe: {
      leader () {},
      started () {},
      oversized () {},
      unknowable () {},
      reconciled () {},
      published (events) { transactions.push(events) }
    }
  })
  const collected = await collectEvents(t, setting.namespace)
  const ids = orders.map(({ _id }) => String(_id))
  t.strictSame(idsOf(await collected.forOrders(ids, 100_000)), ids.sort())
  t.ok(told('debug', /the relay stopped/).length > 0, 'the first transaction was too large for its deadline')
  t.ok(Math.max(...transactions) < orders.length, 'those after it were smaller')
  t.comment(`events of the transactions: ${transactions.join(' ')}`)
})
