import t from 'tap'
import { firstIdOf } from '../../../src/encoding/order-id.ts'
import { createRemovals } from '../../../src/relay/held/removals.ts'

/** What is allowed between the time in an id and the insert. */
const MARGIN_S = 3_600
const NOW = 1_800_000_000
const at = (seconds: number) => ({ t: seconds, i: 1 })

/** An id of a second that no other call gives. */
let drawn = 0
function idOf (seconds: number): string {
  return firstIdOf(seconds).slice(0, 8) + (++drawn).toString(16).padStart(16, '0')
}

t.test('an order is doubtful once its insert comes more than an hour after its id', async (t) => {
  const { mayBeAgain } = createRemovals()
  t.equal(mayBeAgain({ id: idOf(NOW), at: at(NOW) }), false)
  t.equal(mayBeAgain({ id: idOf(NOW - MARGIN_S), at: at(NOW) }), false)
  t.equal(mayBeAgain({ id: idOf(NOW - MARGIN_S - 1), at: at(NOW) }), true)
  t.equal(mayBeAgain({ id: idOf(NOW + MARGIN_S), at: at(NOW) }), false, 'one of a clock that is ahead')
  for (const id of ['order-1', '7', '']) t.equal(mayBeAgain({ id, at: at(NOW) }), false, `${id} is no order's id`)
})

t.test('an order that was deleted is doubtful, and no other', async (t) => {
  const removals = createRemovals()
  const [deleted, other] = [idOf(NOW), idOf(NOW)]
  removals.deleted(deleted, at(NOW))
  t.equal(removals.mayBeAgain({ id: deleted, at: at(NOW + 1) }), true)
  t.equal(removals.mayBeAgain({ id: other, at: at(NOW + 1) }), false)
  t.strictSame(removals.since(at(NOW + 1)), { ids: [deleted] })
})

t.test('after a drop each order is doubtful that may have been there, or is a minute ahead', async (t) => {
  const removals = createRemovals()
  removals.dropped(at(NOW))
  const TIMES = [[NOW - 100, true], [NOW, true], [NOW + 10, true], [NOW + 11, false]] as const
  for (const [seconds, doubtful] of TIMES) {
    t.equal(removals.mayBeAgain({ id: idOf(seconds), at: at(NOW + 90) }), doubtful, `${seconds - NOW} s after it`)
  }
  removals.dropped(at(NOW - 1_000))
  t.strictSame(removals.since(at(NOW)), { ids: [], before: NOW + 10 }, 'an earlier drop makes it no earlier')
})

t.test('200 deletions are remembered one by one, and more as a drop', async (t) => {
  const removals = createRemovals()
  const ids = Array.from({ length: 201 }, () => idOf(NOW))
  for (const id of ids.slice(0, 200)) removals.deleted(id, at(NOW))
  t.strictSame(removals.since(at(NOW)), { ids: ids.slice(0, 200) })
  t.equal(removals.mayBeAgain({ id: ids[200]!, at: at(NOW) }), false)
  removals.deleted(ids[200]!, at(NOW))
  t.strictSame(removals.since(at(NOW)), { ids: [], before: NOW + 10 })
  for (const id of ids) t.equal(removals.mayBeAgain({ id, at: at(NOW) }), true)
})

t.test('what the checkpoint remembers holds for the next leader', async (t) => {
  const before = createRemovals()
  const deleted = idOf(NOW)
  before.deleted(deleted, at(NOW))
  before.dropped(at(NOW - 300))
  const after = createRemovals(before.since(at(NOW)))
  t.equal(after.mayBeAgain({ id: deleted, at: at(NOW) }), true)
  t.equal(after.mayBeAgain({ id: idOf(NOW - 290), at: at(NOW) }), true)
  t.equal(after.mayBeAgain({ id: idOf(NOW - 289), at: at(NOW) }), false)
})

t.test('what is so old that its id alone shows it is forgotten, and nothing younger', async (t) => {
  const removals = createRemovals()
  const [old, young] = [idOf(NOW), idOf(NOW + 10)]
  removals.deleted(old, at(NOW))
  removals.deleted(young, at(NOW + 10))
  removals.dropped(at(NOW - 10)) // before NOW
  t.strictSame(removals.since(at(NOW + MARGIN_S)), { ids: [old, young], before: NOW })
  t.strictSame(removals.since(at(NOW + MARGIN_S + 1)), { ids: [young] })
  t.equal(removals.mayBeAgain({ id: old, at: at(NOW + MARGIN_S + 1) }), true, 'by its id')
  t.equal(removals.since(at(NOW + MARGIN_S + 11)), undefined)
})
