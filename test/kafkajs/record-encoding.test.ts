import { createRequire } from 'node:module'
import { ObjectId } from 'mongodb'
import t from 'tap'
import { createRandom } from '../../bench/clients/random.ts'
import '../../src/kafka/client.ts'
import { encodeRecord, encodeRecordSlowly, type KafkajsRecord } from '../../src/kafkajs/record-encoding.ts'
import { toRecord } from '../../src/models.ts'

const order = {
  _id: new ObjectId(),
  userId: 'user-1',
  products: [{ _id: 'product-1', quantity: 2 }],
  createdAt: new Date(),
  updatedAt: new Date(),
  traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
}
const TEXTS = [
  '',
  'a',
  'x'.repeat(63),
  'x'.repeat(64),
  'x'.repeat(65),
  'é'.repeat(31),
  'é'.repeat(32),
  'é'.repeat(40),
  'é'.repeat(64),
  '漢'.repeat(2_800),
  '😀'.repeat(3_000),
  `a${'é'.repeat(4_095)}`,
  'x'.repeat(8_191),
  'x'.repeat(8_192),
  'x'.repeat(300_000),
  '\u0000',
  '\ud800'
]

t.test('records have the bytes that kafkajs gives them', async (t) => {
  const records: KafkajsRecord[] = [
    { ...toRecord(order), offsetDelta: 0, timestampDelta: 0 },
    { ...toRecord({ ...order, userId: 'Zoë 😀' }), offsetDelta: 999, timestampDelta: 0 },
    ...TEXTS.map((text, offsetDelta) => ({
      key: text,
      value: text,
      headers: { [text]: text, other: text },
      offsetDelta
    })),
    { key: 'key', value: 'value' },
    ...[1, 63, 64, 8_191, 8_192, 2 ** 20, 2 ** 30 - 1, 2 ** 30, 2 ** 40].map((timestampDelta) => ({
      key: 'key',
      value: 'value',
      timestampDelta,
      offsetDelta: 7
    }))
  ]
  for (const record of records) {
    t.ok(encodeRecord(record).buffer.equals(encodeRecordSlowly(record).buffer), JSON.stringify(record).slice(0, 100))
  }
})

t.test('whatever the texts are', async (t) => {
  const random = createRandom(7)
  const text = (): string => {
    const letters = random.pick(['ab', 'aé', 'é漢', '漢😀', 'a😀'])
    return Array.from({ length: random.below(random.chance(0.1) ? 9_000 : 90) }, () => random.pick([...letters])).join(
      ''
    )
  }
  const different = Array.from({ length: 1_000 }, (_value, offsetDelta): KafkajsRecord => ({
    key: text(),
    value: text(),
    headers: { [text()]: text(), [text()]: text() },
    offsetDelta,
    timestampDelta: random.below(2 ** 30)
  })).filter((record) => !encodeRecord(record).buffer.equals(encodeRecordSlowly(record).buffer))
  t.strictSame(different, [])
})

t.test('what is no plain text is left to kafkajs', async (t) => {
  for (const record of [
    { key: null, value: 'value' },
    { key: Buffer.from([1, 2]), value: Buffer.from([3]) },
    { key: 'key', value: null },
    { key: 'key', value: 'value', headers: { a: ['1', '2'], b: Buffer.from('3') } },
    { key: 'key', value: 'value', timestampDelta: -5 }
  ]) { t.ok(encodeRecord(record).buffer.equals(encodeRecordSlowly(record).buffer), JSON.stringify(record)) }
})

t.test('kafkajs sends the records that are written here', async (t) => {
  const require = createRequire(import.meta.url)
  t.equal(require('kafkajs/src/protocol/recordBatch/record/v0/index.js'), encodeRecord)
  t.notOk(
    Object.keys(require.cache).some((file) => file.endsWith('kafkajs/src/protocol/requests/produce/v3/request.js')),
    'not loaded before'
  )
})
