import cluster, { type Worker } from 'node:cluster'
import { within } from '../runtime/deadline.ts'
import { StartupError } from '../errors.ts'
import type { Logger } from '../runtime/logger.ts'
import { openChannel, type Answers, type Question, type WorkerState } from './channel.ts'

/** Who ends sooner after it began to serve has most likely the same end before it the next time. */
const SETTLED_MS = 5_000
/** Ends in a row, each before it settled, after which it is no accident. */
const ENDS_MAX = 5
/** Before the second start; each further end doubles it. */
const BACK_OFF_MS = 100
const BACK_OFF_MS_MAX = 5_000
const PING_MS = 1_000
/**
 * Unanswered pings after which a worker counts as hung. In pings, not in ms: if the whole machine was suspended, so was
 * the primary.
 */
const SILENT_PINGS_MAX = 15

/** The place of one worker, which one process after the other fills. */
interface Place {
  number: number
  worker?: Worker
  channel?: ReturnType<typeof openChannel>
  listens: boolean
  serves: boolean
  /** Pings since it was heard of. */
  silent: number
  /** Unsettled ends in a row. */
  ends: number
  restart?: NodeJS.Timeout
  ended: Promise<void>
}

export interface WorkersOptions {
  /** The module that a worker runs. */
  exec: string
  count: number
  /** Added to this process's own. Read at the start. */
  env: () => Record<string, string>
  /** For the orderly end of all workers; those that are late are killed. */
  closeMsMax: number
  log: Logger
  /** The process that was this worker's has ended. */
  onEnd: (worker: number) => void
}

export type Workers = ReturnType<typeof createWorkers>

/** The worker processes of this service: they share PORT, and one that ends is started again. */
export function createWorkers ({ exec, count, env, closeMsMax, log, onEnd }: WorkersOptions) {
  const places: Place[] = Array.from({ length: count }, (_, index) => ({
    number: index + 1,
    listens: false,
    serves: false,
    silent: 0,
    ends: 0,
    ended: Promise.resolve()
  }))
  let started = false
  let closing = false
  let pinging: NodeJS.Timeout | undefined
  let giveUp = (_reason: Error): void => {}
  /** Resolves with the reason once a worker can't be kept alive. */
  const gaveUp = new Promise<Error>((resolve) => { giveUp = resolve })

  /** @throws StartupError with the line of the first worker that can't start */
  async function start (): Promise<void> {
    cluster.setupPrimary({ exec })
    pinging = setInterval(() => places.forEach(ping), PING_MS).unref()
    await Promise.all(places.map(launch))
    started = true
  }

  /** Resolves when it serves; rejects when it ended before. */
  function launch (place: Place): Promise<void> {
    const worker = cluster.fork(env())
    let servesSince: number | undefined
    let reason: string | undefined
    Object.assign(place, { worker, listens: false, serves: false, silent: 0 })
    return new Promise((resolve, reject) => {
      const onState = (message: WorkerState): void => {
        if (message.state === 'failed') {
          reason = message.reason
          return
        }
        place.listens = true
        if (message.state === 'listens') return
        place.serves = true
        servesSince = performance.now()
        log.info({ worker: place.number, workerPid: worker.process.pid }, 'a worker serves')
        resolve()
      }
      place.channel = openChannel(worker, { onState, onHeard: () => { place.silent = 0 } })
      place.ended = endOf(worker).then((end) => {
        Object.assign(place, { worker: undefined, channel: undefined, listens: false, serves: false })
        onEnd(place.number)
        reject(new StartupError(reason ?? `a worker ended before it served, with ${end}`))
        if (started && !closing) {
          replace(place, { end, reason, servedMs: servesSince === undefined ? 0 : performance.now() - servesSince })
        }
      })
    })
  }

  /** One that hangs still holds its connections, and looks alive to callers of the primary. */
  function ping (place: Place): void {
    if (!place.listens || closing) return
    if (place.silent === SILENT_PINGS_MAX) {
      log.error(
        { worker: place.number, workerPid: place.worker?.process.pid, silentMs: SILENT_PINGS_MAX * PING_MS },
        'a worker hangs and is killed'
      )
      place.worker?.process.kill('SIGKILL')
    }
    place.silent++
    place.channel?.ask('alive', PING_MS).catch(() => {}) // what comes late counts too
  }

  function replace (
    place: Place,
    { end, reason, servedMs }: { end: string, reason: string | undefined, servedMs: number }
  ): void {
    // Who says why it can't start, as when MongoDB is away, waits for the reason to pass, while others serve what can
    // be served.
    const waits = reason !== undefined && places.some(({ serves }) => serves)
    place.ends = servedMs > SETTLED_MS ? 1 : waits ? Math.max(1, place.ends) : place.ends + 1
    const restartMs = waits ? BACK_OFF_MS_MAX : Math.min(BACK_OFF_MS * 2 ** (place.ends - 1), BACK_OFF_MS_MAX)
    if (place.ends > ENDS_MAX) {
      giveUp(
        new StartupError(
          `worker ${place.number} ended ${place.ends} times in a row soon after its start: ${reason ?? end}`
        )
      )
      return
    }
    log.error({ worker: place.number, end, reason, restartMs }, 'a worker ended and is started again')
    place.restart = setTimeout(() => {
      launch(place).catch(() => {})
    }, restartMs)
  }

  /** @throws when a worker had to be killed; all have ended then too */
  async function stop (): Promise<void> {
    closing = true
    clearInterval(pinging)
    for (const place of places) {
      clearTimeout(place.restart)
      if (place.listens) place.channel?.close()
      else place.worker?.process.kill('SIGKILL') // it has nothing to close, and can't hear yet
    }
    const allEnded = Promise.all(places.map(({ ended }) => ended))
    await within(closeMsMax, 'the end of the workers', allEnded.then(() => {})).catch(async (error) => {
      for (const { worker } of places) worker?.process.kill('SIGKILL')
      await allEnded
      throw error
    })
  }

  return {
    start,
    stop,
    gaveUp,
    count,
    /** One of them serves already, while others may still start. */
    get serving (): boolean {
      return places.some(({ serves }) => serves)
    },
    /** The answers of those that serve, answer in time and are still there, by worker. */
    async ask <Name extends Question> (question: Name, msMax: number): Promise<Map<number, Answers[Name]>> {
      const asked = places
        .filter(({ serves }) => serves)
        .map(({ number, worker, channel }) => ({
          number,
          worker,
          answer: channel!.ask(question, msMax).catch(() => undefined)
        }))
      const answers = new Map<number, Answers[Name]>()
      for (const { number, answer } of asked) {
        const answered = await answer
        if (answered !== undefined) answers.set(number, answered)
      }
      for (const { number, worker } of asked) if (places[number - 1]!.worker !== worker) answers.delete(number)
      return answers
    }
  }
}

/** Resolves with what it ended with. */
async function endOf (worker: Worker): Promise<string> {
  return await new Promise((resolve) => {
    worker.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    // Without a pid there was no process, so there will be no exit; any other error here shows as one.
    worker.on('error', (error) => { if (worker.process.pid === undefined) resolve(error.message) })
  })
}
