import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { within } from '../../src/runtime/deadline.ts'
import { atEnd } from '../rig/parts.ts'
import type { Job, JobResult } from './job.ts'

/** Beyond a job's own time: connecting, last answers, and what a list of a million orders takes. */
const RESULT_MS_MAX = 180_000

export type Generator = ReturnType<typeof startGenerator>

export function startGenerator () {
  const child = fork(fileURLToPath(new URL('main.js', import.meta.url)), { serialization: 'advanced' })
  atEnd(async () => { child.kill('SIGKILL') })

  /** Rejects unless each request got the answer that it should get. */
  async function run (job: Job): Promise<JobResult> {
    const ended = new AbortController()
    try {
      const answered = once(child, 'message', { signal: ended.signal })
      const died = once(child, 'exit', { signal: ended.signal }).then(() => {
        throw new Error('the load generator died')
      })
      child.send(job)
      const ms = 'ms' in job.pace ? job.pace.ms : 0
      const [message] = (await within(
        ms + RESULT_MS_MAX,
        'the result of the load',
        Promise.race([answered, died])
      )) as [{ result: JobResult } | { error: string }]
      if ('error' in message) throw new Error(message.error)
      if (message.result.failures.length > 0) throw new Error(`failed: ${message.result.failures.join(', ')}`)
      if (message.result.answers === 0) throw new Error('nothing was answered')
      return message.result
    } finally {
      ended.abort()
    }
  }

  return {
    run,
    /** Ends the job at hand before its time; its result comes as usual. */
    endJob (): void {
      child.send('end')
    },
    end (): void {
      child.disconnect()
    }
  }
}
