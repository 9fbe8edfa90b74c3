import t, { type Test } from 'tap'
import { createPace } from '../src/pace.ts'

function start (_t: Test) {
  let time = 0
  const pace = createPace({ waitMsMax: 100, itemsMin: 10, itemsMax: 1_000, now: () => time })
  pace.begin()
  return {
    pace,
    /** So many items each 10 ms. */
    settle (items: number, ms: number): void {
      for (const end = time + ms; time < end;) {
        time += 10
        pace.settled(items)
      }
    },
    wait (ms: number): void { time += ms }
  }
}

t.test('as many may be in flight as are settled within the longest wait', async (t) => {
  const { pace, settle } = start(t)
  t.equal(pace.itemsMax, 1_000, 'all of them until the pace is known')
  settle(20, 2_000)
  t.equal(pace.itemsMax, 200)
  settle(50, 2_000)
  t.ok(pace.itemsMax >= 499 && pace.itemsMax <= 500, 'and it follows the pace')
})

t.test('never fewer than fill the batches, never more than the limit', async (t) => {
  const { pace, settle } = start(t)
  settle(0.5, 2_000)
  t.equal(pace.itemsMax, 10)
  settle(500, 2_000)
  t.equal(pace.itemsMax, 1_000)
})

t.test('a stall is no slow pace', async (t) => {
  const { pace, settle, wait } = start(t)
  settle(20, 1_000)
  wait(501)
  t.equal(pace.itemsMax, 1_000)
  settle(20, 10)
  t.equal(pace.itemsMax, 1_000, 'nor is what was settled at its end')
  settle(20, 100)
  t.equal(pace.itemsMax, 200)
})

t.test('an item after none is no sign of a slow pace either', async (t) => {
  const { pace, settle } = start(t)
  settle(1, 1_000)
  t.equal(pace.itemsMax, 10)
  pace.begin()
  t.equal(pace.itemsMax, 1_000)
})
