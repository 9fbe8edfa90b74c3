/*
 * Whatever ends a service sends one or several of these, in any mix: npm and the terminal both pass Ctrl-C on, a
 * closing terminal sends SIGHUP and its shell SIGTERM, process managers signal the whole group, and nodemon restarts by
 * SIGUSR2. The first one begins the end, and further ones say nothing new: the end has a deadline of its own.
 */
export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const
export type Signal = typeof SIGNALS[number]

/**
 * Hears signals from now on. As the first process of a container Node ignores those that nobody listens for, so this
 * comes before anything that takes time to load.
 * @returns takes what is done at each signal; until then one ends the process at once, as nothing has begun
 */
export function hearSignals (): (handler: (signal: Signal) => void) => void {
  let handler = (_signal: Signal): void => process.exit()
  for (const signal of SIGNALS) process.on(signal, () => handler(signal))
  return (given) => { handler = given }
}
