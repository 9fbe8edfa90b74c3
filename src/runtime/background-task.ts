/**
 * Work in the background: it begins once, and `stop` waits for its end.
 * @param run returns soon after `stopping` aborts, and never rejects
 */
export function createBackgroundTask (run: (stopping: AbortSignal) => Promise<void>) {
  const controller = new AbortController()
  let running: Promise<void> | undefined

  return {
    start (): void {
      running ??= run(controller.signal)
    },

    async stop (): Promise<void> {
      controller.abort()
      await running
    }
  }
}
