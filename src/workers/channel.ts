import type { Worker } from 'node:cluster'
import type { Registry } from 'prom-client'
import type { Readiness } from '../../schemas/readiness.ts'
import { within } from '../runtime/deadline.ts'

/*
 * What the primary and its workers say to each other. Nothing is said for a request: connections are handed on by
 * node:cluster, and the workers agree among themselves through MongoDB, as replicas do.
 */

export type MetricJson = Awaited<ReturnType<Registry['getMetricsAsJSON']>>[number]

/** What a worker can be asked, and what it answers. */
export interface Answers { metrics: MetricJson[], readiness: Readiness, alive: true }
export type Question = keyof Answers

/**
 * What becomes of a worker: it listens to the primary, it serves, or it can't start. Until it listens it can't be sent
 * anything, as node:cluster drops what nobody listens for.
 */
export type WorkerState = { state: 'listens' | 'serves' } | { state: 'failed', reason: string }
type FromWorker = WorkerState | { answerTo: number, answer: unknown }
type FromPrimary = { ask: Question, id: number } | { close: true }

/** The worker's side. */
export function joinPrimary (
  worker: Worker,
  { close, ...answers }: { [Name in Question]: () => Promise<Answers[Name]> } & { close: () => void }
) {
  const tell = (message: FromWorker): Promise<void> =>
    new Promise((resolve) => {
      if (worker.isConnected()) worker.send(message, () => resolve())
      else resolve() // where nobody listens any more, `disconnect` says so
    })
  worker.on('message', async (message: FromPrimary) => {
    if ('close' in message) return close()
    // What can't be answered counts as late.
    await answers[message.ask]().then(
      (answer) => tell({ answerTo: message.id, answer }),
      () => {}
    )
  })
  // The primary was killed. By itself node:cluster would end the process here, in the middle of its requests.
  worker.on('disconnect', () => {
    worker.exitedAfterDisconnect = true
    close()
  })
  tell({ state: 'listens' })
  return { tell: (state: WorkerState) => tell(state) }
}

/** The primary's side, for one worker. @param onHeard called for whatever it says, in time or late */
export function openChannel (
  worker: Worker,
  { onState, onHeard }: { onState: (state: WorkerState) => void, onHeard: () => void }
) {
  const waiting = new Map<number, (answer: unknown) => void>()
  let asked = 0
  const send = (message: FromPrimary): void => {
    if (worker.isConnected()) worker.send(message, () => {}) // what no longer arrives shows as the worker's exit
  }
  worker.on('message', (message: FromWorker) => {
    onHeard()
    if ('state' in message) onState(message)
    else waiting.get(message.answerTo)?.(message.answer)
  })
  return {
    close: () => send({ close: true }),
    /** @throws after `msMax` */
    async ask<Name extends Question>(question: Name, msMax: number): Promise<Answers[Name]> {
      const id = ++asked
      const answer = new Promise<unknown>((resolve) => {
        waiting.set(id, resolve)
      })
      send({ ask: question, id })
      return (await within(msMax, "a worker's answer", answer).finally(() => waiting.delete(id))) as Answers[Name]
    }
  }
}
