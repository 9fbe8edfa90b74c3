import t from 'tap'
import { BATCH_EVENTS_MAX, createBatchSize } from '../../src/relay/publishing/batch-size.ts'

t.test('a leadership begins with all that a transaction takes, after a failure with few', async (t) => {
  t.equal(createBatchSize(false).size, BATCH_EVENTS_MAX)
  t.equal(createBatchSize(true).size, 50)
})

t.test('slow transactions shrink to half of what they held, down to one event', async (t) => {
  const batch = createBatchSize(false)
  const sizes = [1_000, 500, 250].map((events) => {
    batch.took(events, 6_000)
    return batch.size
  })
  t.strictSame(sizes, [500, 250, 125])
  batch.took(7, 6_000)
  t.equal(batch.size, 3, 'so many events were too many, whatever the size was')
  for (let times = 0; times < 5; times++) batch.took(1, 6_000)
  t.equal(batch.size, 1)
})

t.test('quick and full transactions double, up to the most', async (t) => {
  const batch = createBatchSize(true)
  batch.took(49, 100)
  t.equal(batch.size, 50, 'one that was not full says nothing')
  batch.took(50, 3_000)
  t.equal(batch.size, 50, 'one in between is left as it is')
  for (const size of [100, 200, 400, 800, BATCH_EVENTS_MAX, BATCH_EVENTS_MAX]) {
    batch.took(batch.size, 100)
    t.equal(batch.size, size)
  }
})
