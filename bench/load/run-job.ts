import { setTimeout as delay } from 'node:timers/promises'
import { openConnection, type Connection } from './connection.ts'
import { percentiles, type Job, type JobResult } from './job.ts'
import { isPost, requestsOf } from './requests.ts'

/** How long the last answers may take. */
const LAST_ANSWERS_MS_MAX = 30_000
const TICK_MS = 1

interface UnderWay { post: boolean, dueAt: number }

/** @param signal ends the job before its time */
export async function runJob ({ port, connections, pace, requests }: Job, signal: AbortSignal): Promise<JobResult> {
  const nextRequest = requestsOf(requests)
  const latencies: number[] = []
  const firstBytes: number[] = []
  const created: string[] = []
  const createdAt: number[] = []
  const failures = new Map<string, number>()
  const underWay = new Map<Connection, UnderWay>()
  let free: Connection[] = []
  let bytes = 0
  let sent = 0
  let lastAnswerAt = 0
  const closed = !('perSecond' in pace)
  const count = 'count' in pace ? pace.count : Infinity
  const onAnswer = closed ? sendNext : (connection: Connection) => { free.push(connection) }

  const fail = (what: string): void => { failures.set(what, (failures.get(what) ?? 0) + 1) }
  const opened = await Promise.all(Array.from({ length: connections }, () => openConnection(port, {
    answer (connection, status, id, length, firstByteMs) {
      const request = underWay.get(connection)!
      underWay.delete(connection)
      lastAnswerAt = performance.now()
      latencies.push(lastAnswerAt - request.dueAt)
      firstBytes.push(firstByteMs)
      bytes += length
      if (request.post && status === 201 && id !== '') {
        created.push(id)
        createdAt.push(performance.timeOrigin + lastAnswerAt)
      } else if (request.post || status !== 200) {
        fail(`${request.post ? 'POST' : 'GET'} ${status}${status === 201 ? ' without an id' : ''}`)
      }
      onAnswer(connection)
    },
    failure (connection, error) {
      fail(error.message)
      underWay.delete(connection)
      free = free.filter((other) => other !== connection)
    }
  })))

  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  const end = start + ('ms' in pace ? pace.ms : Infinity)
  const isOver = (): boolean => signal.aborted || sent >= count || performance.now() >= end

  function send (connection: Connection, dueAt: number): void {
    const request = nextRequest()
    underWay.set(connection, { post: isPost(request), dueAt })
    sent++
    connection.send(request)
  }

  function sendNext (connection: Connection): void {
    if (!isOver()) send(connection, performance.now())
  }

  if (closed) {
    opened.forEach(sendNext)
    while (!isOver() && underWay.size > 0) await delay(TICK_MS * 5)
  } else {
    // The one that has been free for longest goes first: else some would idle until the server closes them.
    free = opened
    for (let now = start; !isOver() && failures.size === 0; await delay(TICK_MS), now = performance.now()) {
      for (let dueAt = start + sent / pace.perSecond * 1000; dueAt <= now && free.length > 0; dueAt = start + sent / pace.perSecond * 1000) send(free.shift()!, dueAt)
    }
  }
  for (const limit = performance.now() + LAST_ANSWERS_MS_MAX; underWay.size > 0; await delay(TICK_MS)) {
    if (performance.now() < limit) continue
    fail(`${underWay.size} requests without an answer`)
    break
  }

  const cpu = process.cpuUsage(cpuBefore)
  for (const connection of opened) connection.end()
  return {
    ms: lastAnswerAt - start,
    answers: latencies.length,
    bytes,
    latencyMs: percentiles(latencies),
    firstByteMs: percentiles(firstBytes),
    created,
    createdAt: Float64Array.from(createdAt),
    failures: [...failures].map(([what, times]) => `${times} × ${what}`),
    cpuSeconds: (cpu.user + cpu.system) / 1e6
  }
}
