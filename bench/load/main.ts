/**
 * The load generator: a process of its own, so that it shares no thread with anything else, which does one job after
 * the other.
 */
import type { Job } from './job.ts'
import { runJob } from './run-job.ts'

let ending = new AbortController()

process.on('message', (message: Job | 'end') => {
  if (message === 'end') return ending.abort()
  ending = new AbortController()
  runJob(message, ending.signal).then(
    (result) => process.send!({ result }),
    (error: Error) => process.send!({ error: error.message })
  )
})
process.on('SIGINT', () => {}) // the terminal sends it to all; the driver ends in order
process.on('disconnect', () => process.exit())
