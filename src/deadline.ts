/**
 * The promise's result, or a rejection after `ms`. The promise itself goes on; whoever calls this drops what it hangs on.
 * @param what goes into the message, as in "Kafka's answer"
 */
export async function within<T> (ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
