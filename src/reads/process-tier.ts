import { hashOf, wordOf } from '../encoding/id-hash.ts'
import type { OrderJson } from '../encoding/order-json.ts'

/*
 * Orders in this process, by id. A table of numbers with open addressing, as a look-up then touches few lines of the
 * CPU's cache: a Map of strings with a list of the last used took a sixth of what a GET among 10,000 orders takes
 * (docs/explanation/reads.md). What has to go is chosen by a clock (Corbató, "A Paging Experiment with the Multics
 * System", 1968): its hand passes over what was used since it last came by and takes out what was not.
 */

/**
 * What an entry costs in addition to its text: the header of a string, and its share of the table. A Buffer has its
 * bytes outside of the heap, in a piece of memory of its own.
 */
const TEXT_BYTES = 150
const BUFFER_BYTES = 650
const SLOTS_MIN = 1_024
/** Of the slots; with more in use one would look at many before the right one. */
const LOAD_MAX = 0.5
/**
 * A slot has three of the id and one for its state: 0 if it is free, otherwise the tick up to which the entry is good,
 * and USED.
 */
const WORDS = 4
const STATE = 3
const USED = 1
/** 31 bits of ticks last for 6.8 years. */
const TICK_MS = 100

/**
 * Ids are 24 hex digits; times are ms of performance.now().
 * @param bytesMax of all entries together, with what they cost in addition to their text
 */
export function createOrderCache (bytesMax: number) {
  let mask: number
  let words: Int32Array
  let orders: (OrderJson | undefined)[]
  let count: number
  let bytes: number
  let hand: number
  clear()

  function clear (): void {
    allocate(SLOTS_MIN)
    count = bytes = hand = 0
  }

  function allocate (slots: number): void {
    mask = slots - 1
    words = new Int32Array(slots * WORDS)
    orders = new Array<undefined>(slots).fill(undefined)
  }

  function home (a: number, b: number, c: number): number {
    return hashOf(a, b, c) & mask
  }

  /** The slot that has the id, or the free one where it would be. */
  function slotOf (a: number, b: number, c: number): number {
    let slot = home(a, b, c)
    for (let at = slot * WORDS; words[at + STATE] !== 0; at = slot * WORDS) {
      if (words[at] === a && words[at + 1] === b && words[at + 2] === c) break
      slot = (slot + 1) & mask
    }
    return slot
  }

  function find (id: string): number {
    return slotOf(wordOf(id, 0), wordOf(id, 8), wordOf(id, 16))
  }

  function grow (): void {
    const [oldWords, oldOrders] = [words, orders]
    allocate(oldOrders.length * 2)
    hand = 0
    for (let from = 0; from < oldOrders.length; from++) {
      const at = from * WORDS
      if (oldWords[at + STATE] === 0) continue
      const slot = slotOf(oldWords[at]!, oldWords[at + 1]!, oldWords[at + 2]!)
      words.set(oldWords.subarray(at, at + WORDS), slot * WORDS)
      orders[slot] = oldOrders[from]
    }
  }

  /** Takes the entry out and closes the gap, as a search ends at a free slot (Knuth, TAOCP 3, 6.4, algorithm R). */
  function remove (slot: number): void {
    bytes -= sizeOf(orders[slot]!)
    count--
    let gap = slot
    for (let next = (gap + 1) & mask; words[next * WORDS + STATE] !== 0; next = (next + 1) & mask) {
      const at = next * WORDS
      const distance = (next - home(words[at]!, words[at + 1]!, words[at + 2]!)) & mask
      if (distance < ((next - gap) & mask)) continue
      words.copyWithin(gap * WORDS, at, at + WORDS)
      orders[gap] = orders[next]
      gap = next
    }
    words[gap * WORDS + STATE] = 0
    orders[gap] = undefined
  }

  function evict (): void {
    while (bytes > bytesMax) {
      const at = hand * WORDS + STATE
      if (words[at]! & USED) words[at]! &= ~USED
      else if (words[at] !== 0) {
        remove(hand)
        continue // the gap may have been closed with one that the hand hasn't seen
      }
      hand = (hand + 1) & mask
    }
  }

  return {
    get bytes (): number { return bytes },
    get count (): number { return count },

    get (id: string, now: number): OrderJson | undefined {
      const slot = find(id)
      const at = slot * WORDS + STATE
      const state = words[at]!
      if (state === 0) return undefined
      if ((state >>> 1) * TICK_MS <= now) {
        remove(slot)
        return undefined
      }
      if ((state & USED) === 0) words[at] = state | USED
      return orders[slot]
    },

    /** @param until when it is forgotten, if it isn't earlier to make room; up to 100 ms early */
    set (id: string, json: OrderJson, until: number): void {
      this.delete(id)
      if (sizeOf(json) > bytesMax) return
      if (count + 1 > LOAD_MAX * orders.length) grow()
      const slot = find(id)
      const at = slot * WORDS
      for (let part = 0; part < STATE; part++) words[at + part] = wordOf(id, part * 8)
      words[at + STATE] = Math.max(1, Math.floor(until / TICK_MS)) << 1
      orders[slot] = json
      count++
      bytes += sizeOf(json)
      evict()
    },

    delete (id: string): void {
      const slot = find(id)
      if (words[slot * WORDS + STATE] !== 0) remove(slot)
    },

    clear
  }
}

function sizeOf (json: OrderJson): number {
  return json.length + (typeof json === 'string' ? TEXT_BYTES : BUFFER_BYTES)
}
