/*
 * Turns concurrent calls into batches. There is no timer: a batch leaves at the end of the event loop's turn in which a slot
 * is free, so that a lone call waits for nobody, and under load batches grow to what came in while the slots were taken.
 */

export interface BatcherOptions<Item, Result> {
  /** Does the work. Must settle each item on its own, by index; if it rejects, every item of the batch is rejected. */
  run: (items: Item[], oldestSince: number) => Promise<PromiseSettledResult<Result>[]>
  /** Batches at work at the same time. */
  inFlightMax: number
  batchItemsMax: number
  batchBytesMax: number
  /** Items that may wait. One more is refused with `full()`. */
  queueItemsMax: number
  queueBytesMax: number
  /** ms after which an item that still waits is refused with `late()`, as it never left. */
  waitMsMax: number
  full: () => Error
  late: () => Error
}

interface Waiting<Item, Result> {
  item: Item
  bytes: number
  since: number
  resolve: (result: Result) => void
  reject: (reason: unknown) => void
}

export function createBatcher<Item, Result> (options: BatcherOptions<Item, Result>) {
  let queue: Waiting<Item, Result>[] = []
  let queueBytes = 0
  let inFlight = 0
  let scheduled = false

  function schedule (): void {
    if (scheduled || inFlight >= options.inFlightMax || queue.length === 0) return
    scheduled = true
    setImmediate(leave)
  }

  function leave (): void {
    scheduled = false
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
    let bytes = 0
    let taken = 0
    for (const waiting of queue) {
      if (now - waiting.since > options.waitMsMax) {
        waiting.reject(options.late())
      } else {
        if (batch.length === options.batchItemsMax || (batch.length > 0 && bytes + waiting.bytes > options.batchBytesMax)) break
        batch.push(waiting)
        bytes += waiting.bytes
      }
      taken++
      queueBytes -= waiting.bytes
    }
    queue = taken === queue.length ? [] : queue.slice(taken)
    return batch
  }

  async function settle (batch: Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await options.run(batch.map((waiting) => waiting.item), batch[0]!.since)
      batch.forEach((waiting, index) => {
        const result = results[index]!
        if (result.status === 'fulfilled') waiting.resolve(result.value)
        else waiting.reject(result.reason)
      })
    } catch (error) {
      for (const waiting of batch) waiting.reject(error)
    }
  }

  return {
    /** @param bytes what the item weighs, against batchBytesMax and queueBytesMax */
    submit (item: Item, bytes = 0): Promise<Result> {
      if (queue.length >= options.queueItemsMax || queueBytes + bytes > options.queueBytesMax) return Promise.reject(options.full())
      return new Promise<Result>((resolve, reject) => {
        queue.push({ item, bytes, since: performance.now(), resolve, reject })
        queueBytes += bytes
        schedule()
      })
    },
    get waiting (): number { return queue.length }
  }
}
