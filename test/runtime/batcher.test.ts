import t from 'tap'
import { createBatcher } from '../../src/runtime/batcher.ts'
import { eventually } from '../helper.ts'

/** Each batch is done when it is told so. */
function startBatcher (besideMin = 1) {
  const batches: number[][] = []
  const ends: (() => void)[] = []
  const batcher = createBatcher<number, void>({
    run: async (items) => {
      batches.push(items)
      await new Promise<void>((resolve) => ends.push(resolve))
      return items.map(() => ({ status: 'fulfilled', value: undefined }))
    },
    inFlightMax: 2,
    besideMin,
    batchItemsMax: 3,
    batchBytesMax: Infinity,
    itemsMax: 100,
    bytesMax: Infinity,
    waitMsMax: 60_000,
    full: () => new Error('full'),
    late: () => new Error('late')
  })
  return { batches, ends, submit: (n: number) => batcher.submit(n) }
}

t.test('what comes in one turn leaves together at its end', async (t) => {
  const { batches, ends, submit } = startBatcher()
  const done = [submit(1), submit(2)]
  t.strictSame(batches, [])
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(batches, [[1, 2]])
  ends[0]!()
  await Promise.all(done)
})

t.test(
  'a full batch leaves in the midst of a turn, as long as there is a slot, and when one becomes free',
  async (t) => {
    const { batches, ends, submit } = startBatcher()
    const done = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(submit)
    t.strictSame(batches, [
      [1, 2, 3],
      [4, 5, 6]
    ])
    ends[0]!()
    await Promise.all(done.slice(0, 3))
    await done[0]!.then(() => {}).then(() => {}) // the slot is given back behind the answers
    t.strictSame(batches, [
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9]
    ])
    ends[1]!()
    ends[2]!()
    await Promise.all(done)
  }
)

t.test('a few wait for the batch at work, and leave with what came meanwhile', async (t) => {
  const { batches, ends, submit } = startBatcher(2)
  const done = [submit(1)]
  await new Promise((resolve) => setImmediate(resolve))
  done.push(submit(2))
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(batches, [[1]])
  ends[0]!()
  await done[0]
  await eventually(() => batches.length === 2)
  t.strictSame(batches, [[1], [2]])
  done.push(submit(3), submit(4))
  await eventually(() => batches.length === 3)
  t.strictSame(batches, [[1], [2], [3, 4]], 'enough leave beside it')
  ends[1]!()
  ends[2]!()
  await Promise.all(done)
})

t.test('a batch that takes long is not waited for', async (t) => {
  const { batches, ends, submit } = startBatcher(2)
  const done = [submit(1)]
  await new Promise((resolve) => setImmediate(resolve))
  done.push(submit(2))
  await eventually(() => batches.length === 2)
  t.strictSame(batches, [[1], [2]])
  for (const end of ends) end()
  await Promise.all(done)
})
