import t from 'tap'
import type { KafkaMessage } from 'kafkajs'
import { toDocument, toRecord } from '../../src/models.ts'
import { traceparentOf } from '../../src/traceparent.ts'
import { createAuditReport } from '../../tools/audit-report.ts'
import { createSlice } from '../../tools/audit-slice.ts'
import { aNewOrder } from '../helper.ts'

t.test('in slices the audit finds what it finds at once, each thing in one of them', async (t) => {
  const documents = Array.from({ length: 600 }, () => toDocument(aNewOrder, traceparentOf(undefined)))
  // Of each six orders one is untold, one is told twice, one is told but not stored, one is replayed and one has an
  // invalid record.
  const records = documents.flatMap((document, index) => {
    const record = toRecord(document)
    if (index % 6 === 0) return []
    if (index % 6 === 1) return [record, record]
    if (index % 6 === 3) return [record, { ...record, headers: { ...record.headers, replay: 'true' } }]
    return index % 6 === 4 ? [{ ...record, value: '{}' }] : [record]
  })
  const messages = [
    ...records.map(({ key, value, headers }) => ({ key: Buffer.from(key), value: Buffer.from(value), headers })),
    { key: null, value: null }
  ]
  const stored = documents.filter((_, index) => index % 6 !== 2)

  const auditIn = (slices: number) => {
    const report = createAuditReport({})
    for (let slice = 0; slice < slices; slice++) {
      const part = createSlice({ slice, slices, ids: documents.length / slices, range: {}, report })
      for (const message of messages) part.noteRecord({ ...message, offset: '0' } as KafkaMessage, 0)
      for (const document of stored) part.noteStored(document)
      for (const { id } of part.untold()) report.add('missing', id)
    }
    const { missing, duplicate, unknown, invalid, ...counts } = report.toJson() as Record<string, { count: number }>
    return {
      missing: missing!.count,
      duplicate: duplicate!.count,
      unknown: unknown!.count,
      invalid: invalid!.count,
      orders: counts.orders,
      replayed: counts.replayed
    }
  }
  const expected = { missing: 100, duplicate: 100, unknown: 100, invalid: 101, orders: 500, replayed: 100 }
  for (const slices of [1, 2, 5]) t.strictSame(auditIn(slices), expected, `${slices} slices`)
})
