import { hearSignals } from './process/signals.ts'

const onSignal = hearSignals()
const { run } = await import('./service-process.ts')
await run(onSignal)
