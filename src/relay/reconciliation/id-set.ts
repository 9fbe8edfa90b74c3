import type { ObjectId } from 'mongodb'

const ID_BYTES = 12

export type IdSet = ReturnType<typeof createIdSet>

/**
 * Ids of orders that something is looked up for: 12 bytes and a mark each, so that millions fit where objects would
 * not. They are added in ascending order, as an index yields them, and found by bisection.
 * @param idsMax it takes no more
 */
export function createIdSet (idsMax: number) {
  let ids = Buffer.allocUnsafe(Math.min(idsMax, 1_000) * ID_BYTES)
  let marks = new Uint8Array(ids.length / ID_BYTES)
  let size = 0

  function grow (): void {
    const room = Math.min(idsMax, marks.length * 2)
    const [oldIds, oldMarks] = [ids, marks]
    ids = Buffer.allocUnsafe(room * ID_BYTES)
    oldIds.copy(ids)
    marks = new Uint8Array(room)
    marks.set(oldMarks)
  }

  function idAt (index: number): Buffer {
    return ids.subarray(index * ID_BYTES, (index + 1) * ID_BYTES)
  }

  return {
    get size (): number { return size },

    get full (): boolean { return size >= idsMax },

    /** @throws RangeError if it is full, or the id isn't greater than the last one */
    add (id: ObjectId): void {
      if (size >= idsMax) throw new RangeError(`the set holds its ${idsMax} ids`)
      const bytes = Buffer.from(id.id)
      if (size > 0 && idAt(size - 1).compare(bytes) >= 0) throw new RangeError('the ids do not ascend')
      if (size === marks.length) grow()
      bytes.copy(ids, size * ID_BYTES)
      size++
    },

    /** @param id in hex; one that isn't in the set is ignored */
    mark (id: string): void {
      const bytes = Buffer.from(id, 'hex')
      if (bytes.length !== ID_BYTES) return
      let low = 0
      let high = size - 1
      while (low <= high) {
        const middle = (low + high) >> 1
        const order = bytes.compare(ids, middle * ID_BYTES, (middle + 1) * ID_BYTES)
        if (order === 0) {
          marks[middle] = 1
          return
        }
        if (order > 0) low = middle + 1
        else high = middle - 1
      }
    },

    last (): string | undefined {
      return size === 0 ? undefined : idAt(size - 1).toString('hex')
    },

    /** In hex, ascending. */
    * unmarked (): Generator<string> {
      for (let index = 0; index < size; index++) if (marks[index] === 0) yield idAt(index).toString('hex')
    }
  }
}
