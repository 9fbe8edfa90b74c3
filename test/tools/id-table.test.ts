import t from 'tap'
import { ObjectId } from 'mongodb'
import { createIdTable, PENDING, sliceOf, STORED, PUBLISHED } from '../../tools/id-table.ts'

/** As one process makes them, one after the other. */
const ids = Array.from({ length: 5_000 }, () => String(new ObjectId()))

t.test('what is added to an id is known of it, and of no other', async (t) => {
  const table = createIdTable(ids.length)
  for (const [index, id] of ids.entries()) table.add(id, index % 2 ? PUBLISHED : STORED)
  table.addIfKnown(ids[1]!, PENDING)
  table.addIfKnown('f'.repeat(24), PENDING)
  t.equal(table.add(ids[1]!, STORED), PUBLISHED | PENDING)
  t.equal(table.add('0'.repeat(24), PUBLISHED), 0, 'an id of zeros is one too')
  t.equal(table.add('0'.repeat(24), STORED), PUBLISHED)
  const known = new Map([...table.entries()].map(({ id, bits }) => [id, bits]))
  t.equal(known.size, ids.length + 1)
  t.equal(
    ids.findIndex(
      (id, index) => known.get(id) !== (index === 1 ? PUBLISHED | PENDING | STORED : index % 2 ? PUBLISHED : STORED)
    ),
    -1
  )
})

t.test('of two digests of an id the second shows when it is another', async (t) => {
  const table = createIdTable(10)
  table.add(ids[0]!, PUBLISHED)
  t.ok(table.sameDigest(ids[0]!, Buffer.from('12345678')))
  t.ok(table.sameDigest(ids[0]!, Buffer.from('12345678')))
  t.notOk(table.sameDigest(ids[0]!, Buffer.from('12345679')))
})

t.test('more ids than there is room for are reported, not looked for without end', async (t) => {
  const table = createIdTable(10)
  t.throws(() => { for (const id of ids) table.add(id, PUBLISHED) }, /more orders came while they were read/)
})

t.test('ids fall into slices of about one size, each always into the same', async (t) => {
  for (const slices of [1, 2, 7, 16]) {
    const sizes = Array.from({ length: slices }, () => 0)
    for (const id of ids) sizes[sliceOf(id, slices)]!++
    t.ok(Math.max(...sizes) < 1.25 * ids.length / slices, `${slices} slices: ${sizes}`)
    t.equal(sliceOf(ids[0]!, slices), sliceOf(ids[0]!, slices))
  }
})
