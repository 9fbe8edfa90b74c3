import t from 'tap'
import { createAdmission } from '../../src/orders/admission.ts'

function start () {
  let time = 0
  const pace = createAdmission({ waitMsMax: 100, itemsMin: 10, itemsMax: 1_000, now: () => time })
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
  const { pace, settle } = start()
  t.equal(pace.itemsMax, 1_000, 'all of them until the pace is known')
  settle(20, 2_000)
  t.equal(pace.itemsMax, 200)
  settle(50, 2_000)
  t.ok(pace.itemsMax >= 499 && pace.itemsMax <= 500, 'and it follows the pace')
})

t.test('never fewer than fill the batches, never more than the limit', async (t) => {
  const { pace, settle } = start()
  settle(0.5, 2_000)
  t.equal(pace.itemsMax, 10)
  settle(500, 2_000)
  t.equal(pace.itemsMax, 1_000)
})

t.test('a stall under load is no reason to let more in', async (t) => {
  const { pace, settle, wait } = start()
  settle(20, 1_000)
  wait(5_000)
  t.equal(pace.itemsMax, 200)
  settle(20, 10)
  t.ok(pace.itemsMax < 200)
  settle(20, 1_000)
  t.ok(pace.itemsMax > 190, 'and after it the pace is soon found again')
})

t.test('an item after none is no sign of a slow pace either', async (t) => {
  const { pace, settle } = start()
  settle(1, 1_000)
  t.equal(pace.itemsMax, 10)
  pace.begin()
  t.equal(pace.itemsMax, 1_000)
})
