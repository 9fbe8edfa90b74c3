/*
 * Turns concurrent calls into batches. A batch leaves at the end of the event loop's turn in which a slot is free, so
 * that a lone call waits for nobody, and under load batches grow to what came in while the slots were taken. A second
 * slot is for what would be a batch by itself: a few items wait for the batch at work, as a command for two costs
 * nearly what one for twenty does. One that is full leaves at once: while more than a thousand connections keep asking,
 * libuv's turn takes seconds (it reads up to 48 times 1,024 events before it goes on), and a flood of requests that are
 * refused would keep those that were accepted waiting.
 */

export interface BatcherOptions<Item, Result> {
  /**
   * Does the work. Must settle each item on its own, by index; if it rejects, every item of the batch is rejected.
   * @param since when each was submitted (performance.now())
   */
  run: (items: Item[], since: number[]) => Promise<PromiseSettledResult<Result>[]>
  /** Batches at work at the same time. */
  inFlightMax: number
  /** So many items leave next to a batch at work. Fewer wait until it has ended, though no longer than HOLD_MS. */
  besideMin: number
  batchItemsMax: number
  batchBytesMax: number
  /** Items that may wait or be at work. One more is refused with `full()`. */
  itemsMax: number
  bytesMax: number
  /** ms after which an item that still waits is refused with `late()`, as it never left. */
  waitMsMax: number
  full: () => Error
  late: () => Error
}

/** Longer than a healthy answer: a batch that hangs must not hold up the ones after it. */
const HOLD_MS = 20

interface Waiting<Item, Result> {
  item: Item
  bytes: number
  since: number
  resolve: (result: Result) => void
  reject: (reason: unknown) => void
}

export function createBatcher<Item, Result> (options: BatcherOptions<Item, Result>) {
  let queue: Waiting<Item, Result>[] = []
  let items = 0
  let bytes = 0
  let inFlight = 0
  let scheduled = false
  let hold: NodeJS.Timeout | undefined

  function schedule (): void {
    if (inFlight >= options.inFlightMax || queue.length === 0) return
    if (queue.length >= options.batchItemsMax) return leave()
    if (inFlight > 0 && queue.length < options.besideMin) {
      hold ??= setTimeout(leave, HOLD_MS)
      return
    }
    if (scheduled) return
    scheduled = true
    setImmediate(() => {
      scheduled = false
      leave()
    })
  }

  function leave (): void {
    clearTimeout(hold)
    hold = undefined
    if (inFlight >= options.inFlightMax) return
    const batch = takeBatch(performance.now())
    if (batch.length === 0) return
    inFlight++
    settle(batch).finally(() => {
      inFlight--
      schedule()
    })
    schedule()
  }

  function takeBatch (now: number): Waiting<Item, Result>[] {
    const batch: Waiting<Item, Result>[] = []
    let batchBytes = 0
    let taken = 0
    for (const waiting of queue) {
      if (now - waiting.since > options.waitMsMax) {
        waiting.reject(options.late())
        release(waiting)
      } else {
        if (
          batch.length === options.batchItemsMax ||
          (batch.length > 0 && batchBytes + waiting.bytes > options.batchBytesMax)
        ) { break }
        batch.push(waiting)
        batchBytes += waiting.bytes
      }
      taken++
    }
    queue = taken === queue.length ? [] : queue.slice(taken)
    return batch
  }

  async function settle (batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await options.run(batch.map(({ item }) => item), batch.map(({ since }) => since))
      batch.forEach((waiting, index) => {
        const result = results[index]!
        if (result.status === 'fulfilled') waiting.resolve(result.value)
        else waiting.reject(result.reason)
      })
    } catch (error) {
      for (const waiting of batch) waiting.reject(error)
    }
    for (const waiting of batch) release(waiting)
  }

  function release (waiting: Waiting<Item, Result>): void {
    items--
    bytes -= waiting.bytes
  }

  return {
    /** @param weight the item's bytes, against batchBytesMax and bytesMax */
    submit (item: Item, weight = 0): Promise<Result> {
      if (items >= options.itemsMax || bytes + weight > options.bytesMax) return Promise.reject(options.full())
      return new Promise<Result>((resolve, reject) => {
        queue.push({ item, bytes: weight, since: performance.now(), resolve, reject })
        items++
        bytes += weight
        schedule()
      })
    },
    /** Items that wait or are at work, and what they weigh. */
    get items (): number { return items },
    get bytes (): number { return bytes }
  }
}
