/*
 * `timeoutMS` has no effect in the driver for MongoDB (7.9; its types say so), and without a deadline a command waits
 * for a hung server until the monitor gives it up, which takes 20 s. So each command gets a signal, or is waited for
 * with `within`.
 */

/**
 * Calls a command off after `ms`: its connection is closed, so that it holds no place in the pool, and what became of
 * it is unknown.
 */
export function deadline (ms: number): { signal: AbortSignal } {
  return { signal: AbortSignal.timeout(Math.max(1, Math.ceil(ms))) }
}

/**
 * The promise's result, or a rejection after `ms`. The promise itself goes on; the caller drops what it hangs on.
 * @param what goes into the message, as in "Kafka's answer"
 */
export async function within<T> (ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    const tooLate = (): void => reject(new Error(`${what} did not come within ${ms} ms`))
    // After a turn that took long Node runs timers first, though the answer may have come meanwhile: it is read before.
    timer = setTimeout(() => setImmediate(tooLate), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * The promise's result, or undefined once `signal` aborts. Promise.race with one promise for the abort would hold on to
 * every batch.
 */
export async function orAborted<T> (promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  let onAbort = (): void => {}
  const aborted = new Promise<undefined>((resolve) => { onAbort = () => resolve(undefined) })
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
