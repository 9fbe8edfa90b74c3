import { randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { createOrderCache } from '../../src/reads/process-tier.ts'

const LATER = 1_000_000
const idOf = (n: number): string => n.toString(16).padStart(24, '0')

t.test('it answers as a Map does, whatever was added, replaced and taken out before', async (t) => {
  for (const idOfKey of [idOf, (n: number) => `${n.toString(16).padStart(8, '0')}${'a'.repeat(16)}`]) {
    const cache = createOrderCache(Infinity)
    const model = new Map<string, string>()
    const wrong: string[] = []
    for (let step = 0; step < 50_000; step++) {
      const id = idOfKey(randomInt(3_000))
      const what = randomInt(3)
      if (what === 0) {
        cache.set(id, `order ${step}`, LATER)
        model.set(id, `order ${step}`)
      } else if (what === 1) {
        cache.delete(id)
        model.delete(id)
      }
      if (cache.get(id, 0) !== model.get(id) || cache.count !== model.size) wrong.push(`${step}: ${id}`)
    }
    t.strictSame(wrong, [])
    for (const [id, order] of model) if (cache.get(id, 0) !== order) wrong.push(id)
    t.strictSame(wrong, [], 'nor was another one lost')
    for (const id of model.keys()) cache.delete(id)
    t.strictSame([cache.count, cache.bytes], [0, 0])
  }
})

t.test('digits mean the same in either case', async (t) => {
  const cache = createOrderCache(Infinity)
  const id = randomBytes(12).toString('hex')
  cache.set(id.toUpperCase(), 'order', LATER)
  t.equal(cache.get(id, 0), 'order')
})

t.test('an entry is good until its time and up to 100 ms less', async (t) => {
  const cache = createOrderCache(Infinity)
  cache.set(idOf(1), 'order', 5_050)
  t.equal(cache.get(idOf(1), 4_949), 'order')
  t.equal(cache.get(idOf(1), 5_050), undefined)
  t.equal(cache.count, 0)
  cache.set(idOf(1), 'order', 0)
  t.equal(cache.get(idOf(1), 100), undefined, 'one that is past already')
})

t.test('it never holds more than its bytes, and what is used stays', async (t) => {
  const room = 500
  const order = 'o'.repeat(350)
  const cache = createOrderCache(room * 500)
  const used = Array.from({ length: 100 }, (_value, n) => idOf(n))
  for (const id of used) cache.set(id, order, LATER)
  for (let n = used.length; n < 20_000; n++) {
    cache.set(idOf(n), order, LATER)
    cache.get(used[n % used.length]!, 0)
    if (cache.bytes > room * 500) t.fail(`${cache.bytes} bytes`)
  }
  t.equal(cache.count, room)
  t.equal(used.filter((id) => cache.get(id, 0) !== undefined).length, used.length)
})

t.test('what is larger than all of it is not taken, and is gone all the same', async (t) => {
  const cache = createOrderCache(1_000)
  cache.set(idOf(1), 'order', LATER)
  cache.set(idOf(2), 'small', LATER)
  cache.set(idOf(1), Buffer.alloc(1_000), LATER)
  t.equal(cache.get(idOf(1), 0), undefined)
  t.equal(cache.get(idOf(2), 0), 'small')
})

t.test('it can be emptied', async (t) => {
  const cache = createOrderCache(Infinity)
  for (let n = 0; n < 5_000; n++) cache.set(idOf(n), 'order', LATER)
  cache.clear()
  t.strictSame([cache.count, cache.bytes, cache.get(idOf(7), 0)], [0, 0, undefined])
})
