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
  let end = Infinity
  const closed = !('perSecond' in pace)
  const count = 'count' in pace ? pace.count : closed ? Infinity : Math.floor(pace.perSecond * pace.ms / 1000)
  const isOver = (): boolean => signal.aborted || sent >= count || performance.now() >= end
  const fail = (what: string): void => { failures.set(what, (failures.get(what) ?? 0) + 1) }
  const opened = new Set<Connection>()
  async function open (): Promise<void> {
    const connection = await openConnection(port, { answer: onWholeAnswer, failure: onFailure })
    opened.add(connection)
    free.push(connection)
  }

  function onWholeAnswer (
    connection: Connection,
    status: number,
    id: string,
    length: number,
    firstByteMs: number
  ): void {
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
    if (closed && !isOver()) send(connection, performance.now())
    else free.push(connection)
  }

  function onFailure (connection: Connection, error: Error): void {
    opened.delete(connection)
    free = free.filter((other) => other !== connection)
    if (underWay.delete(connection)) fail(error.message)
    // A server may close what has been idle for its keep-alive time: nobody waits for an answer there.
    else if (!isOver()) open().catch((reason: Error) => fail(reason.message))
  }

  await Promise.all(Array.from({ length: connections }, open))
  const cpuBefore = process.cpuUsage()
  const start = performance.now()
  // What was due and found no free connection is sent late, and counts as late.
  end = start + ('ms' in pace ? pace.ms : Infinity) + (closed ? 0 : LAST_ANSWERS_MS_MAX)

  function send (connection: Connection, dueAt: number): void {
    const request = nextRequest()
    underWay.set(connection, { post: isPost(request), dueAt })
    sent++
    connection.send(request)
  }

  if (closed) {
    for (const connection of free.splice(0)) if (!isOver()) send(connection, performance.now())
    while (!isOver() && underWay.size > 0) await delay(TICK_MS * 5)
  } else {
    const dueAt = (): number => start + sent / pace.perSecond * 1000
    for (let now = start; !isOver() && failures.size === 0; await delay(TICK_MS), now = performance.now()) {
      // The one that has been free for longest goes first: otherwise some would idle until the server closes them.
      while (dueAt() <= now && sent < count && free.length > 0) send(free.shift()!, dueAt())
    }
    if (sent < count && !signal.aborted) fail(`${count - sent} requests that were never sent`)
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
