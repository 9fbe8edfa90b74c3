/**
 * Loaded into each service of the campaign, before it (`node --import`). At the process's next Kafka transaction it
 * dies between sending and commit (SIGUSR2), hangs there until somebody sends SIGCONT (SIGWINCH), or hangs before it
 * sends (SIGIO).
 */
import { wrapTransactions } from './transactions.ts'

let next: { signal: 'SIGKILL' | 'SIGSTOP', before: 'send' | 'commit' } | undefined
process.on('SIGUSR2', () => { next = { signal: 'SIGKILL', before: 'commit' } })
process.on('SIGWINCH', () => { next = { signal: 'SIGSTOP', before: 'commit' } })
process.on('SIGIO', () => { next = { signal: 'SIGSTOP', before: 'send' } })

function suffer (before: 'send' | 'commit'): void {
  if (next?.before !== before) return
  const { signal } = next
  next = undefined
  process.kill(process.pid, signal)
}

wrapTransactions((transaction) => ({
  async sendBatch (batch) {
    suffer('send')
    return await transaction.sendBatch(batch)
  },
  async commit () {
    suffer('commit')
    await transaction.commit()
  }
}))
