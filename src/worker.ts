import { hearSignals } from './process/signals.ts'

// A terminal and a process manager send them to the whole group. When to close is for the primary to say.
hearSignals()(() => {})
await import('./worker-process.ts')
