import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request as httpRequest } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MongoClient, type Document } from 'mongodb'
import type { Test } from 'tap'
import { startLocalParts, type Part, type PartName } from '../../local/index.ts'
import type { Settings } from '../../schemas/settings.ts'
import type { ReceivedOrderEvent } from '../../src/kafka.ts'
import { aNewOrder, eventually, newNamespace, parts, settingsFor } from '../helper.ts'

/*
 * What tests of failures need beside test/helper.ts: parts of their own, which they may break, the service as a process
 * of its own, which they may kill, and senders that keep count of what they were told.
 */

/** A part that belongs to one test. It ends after everything that was started later. */
export async function startOwnPart (t: Test, name: PartName, options: { mongoArgs?: string[] } = {}): Promise<Part> {
  const dir = await mkdtemp(join(tmpdir(), `order-service-${name}-`))
  const local = await startLocalParts({ dir, parts: [name], progress: 'silent', ...options })
  t.teardown(async () => {
    await local.parts[name]?.kill()
    await local.stop()
    await rm(dir, { recursive: true, force: true })
  })
  const part = local.parts[name]
  if (part === undefined) throw new Error(local.missing[0]!.reason)
  return part
}

/** A client beside the service's: fail points are set for the service's `appName`, so that it sees what is true. */
export async function connectMongo (t: Test, url: string): Promise<MongoClient> {
  const client = await new MongoClient(url, { appName: 'test' }).connect()
  t.teardown(() => client.close())
  return client
}

/** Makes commands of the service fail (mongod's `failCommand`), until the test ends or `times` are used up. */
export async function failCommand (
  t: Test,
  client: MongoClient,
  failCommands: string[],
  data: Document,
  mode: 'alwaysOn' | { times: number } | { skip: number } = { times: 1 }
): Promise<void> {
  const admin = client.db('admin')
  await admin.command({
    configureFailPoint: 'failCommand',
    mode,
    data: { failCommands, appName: 'order-service', ...data }
  })
  t.teardown(() => admin.command({ configureFailPoint: 'failCommand', mode: 'off' }).catch(() => {}))
}

/** Stands between the service and mongod, and loses the answers to a command after mongod has done it. */
export async function startMongoProxy (t: Test, mongoPort: number) {
  let command = ''
  let cutsLeft = 0
  const server = createServer((client) => {
    const upstream = connect(mongoPort, '127.0.0.1')
    const cut = (): void => {
      client.destroy()
      upstream.destroy()
    }
    let doomed = false
    client.on('data', (bytes) => {
      // In BSON the name of the command is the first key, ended by a zero byte.
      if (cutsLeft > 0 && bytes.includes(`\x02${command}\0`)) {
        cutsLeft--
        doomed = true
      }
      upstream.write(bytes)
    })
    upstream.on('data', (bytes) => { if (doomed) cut(); else client.write(bytes) })
    for (const socket of [client, upstream]) socket.on('close', cut).on('error', cut)
    t.teardown(cut)
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(() => server.close())
  return {
    port: (server.address() as AddressInfo).port,
    get cutsLeft () { return cutsLeft },
    cutAnswers (name: string, times: number) {
      command = name
      cutsLeft = times
    }
  }
}

export interface LogLine { level: number, msg: string, reason?: string }

export type ServiceProcess = Awaited<ReturnType<typeof forkService>>

/** The built service as a process of its own. It is killed when the test ends. */
export async function forkService (t: Test, settings: Partial<Settings> = {}, namespace = newNamespace()) {
  const env = Object.fromEntries(
    Object.entries({ ...settingsFor(namespace), LOG_LEVEL: 'info', ...settings }).map(([name, value]) => [
      name,
      String(value)
    ])
  )
  const child = spawn(process.execPath, ['dist/src/index.js'], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const log: LogLine[] = []
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (output + text).split('\n')
    output = lines.pop()!
    for (const line of lines) log.push(JSON.parse(line))
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const exit = new Promise<{ code: number | null, signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  const signal = (name: NodeJS.Signals): void => { child.kill(name) }
  const kill = async (): Promise<void> => {
    signal('SIGKILL')
    await exit
  }
  t.teardown(kill)

  const [operationsUrl, url] = await eventually(() => {
    if (child.exitCode !== null) throw new Error(`the service ended with ${child.exitCode}: ${errors}`)
    const listening = log.flatMap(({ msg }) => /^Server listening at (.+)$/.exec(msg)?.[1] ?? [])
    return listening.length >= 2 && listening
  }, 60_000, 'a service that listens') as [string, string]
  return { namespace, url, operationsUrl, pid: child.pid!, log, signal, kill, exit, get errors () { return errors } }
}

/** @returns whether the service at this URL is the one that publishes */
export async function leads ({ operationsUrl }: { operationsUrl: string }): Promise<boolean> {
  const response = await fetch(`${operationsUrl}/readyz`).catch(() => undefined)
  return (await response?.json() as { relay?: string } | undefined)?.relay === 'leader'
}

export interface Told {
  /** 0 when the connection broke before an answer. */
  status: number
  /** The connection had carried a request before this one. */
  reused: boolean
  error?: string | undefined
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** One request over an agent's connections; never rejects. */
export function send (agent: Agent, method: string, url: string, body?: string): Promise<Told> {
  return new Promise((resolve) => {
    const request = httpRequest(url, {
      agent,
      method,
      headers:
        body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    })
    const fail = (error: NodeJS.ErrnoException): void =>
      resolve({ status: 0, reused: request.reusedSocket, error: error.code ?? error.message, headers: {}, text: '' })
    request.once('error', fail)
    request.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
      response.once('error', fail)
      response.once('end', () =>
        resolve({ status: response.statusCode!, reused: request.reusedSocket, headers: response.headers, text })
      )
    })
    request.end(body)
  })
}

/** Posts orders over so many connections, each as fast as it is answered, until it is stopped or `count` are sent. */
export function startPosting (t: Test, url: () => string, connections: number, count = Infinity) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const told: Told[] = []
  const stopping = new AbortController()
  let started = 0
  t.teardown(() => {
    stopping.abort()
    agent.destroy()
  })
  const senders = Array.from({ length: connections }, async () => {
    while (!stopping.signal.aborted && started < count) {
      const number = started++
      const answer = await send(agent, 'POST', url(), JSON.stringify({ ...aNewOrder, userId: `user-${number}` }))
      told.push(answer)
      if (answer.status === 0) await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })
  const done = Promise.all(senders).then(() => told)
  return {
    told,
    done,
    stop: () => {
      stopping.abort()
      return done
    }
  }
}

/** The ids of the orders that a sender was told are stored. */
export function storedIds (told: Pick<Told, 'status' | 'text'>[]): string[] {
  return told.filter(({ status }) => status === 201).map(({ text }) => JSON.parse(text)._id)
}

export interface PlainRecord { partition: number, offset: string, key: string }

/**
 * What a subscriber with kafkajs as it comes is shown of committed records, in a process of its own, as this one's
 * kafkajs is patched.
 */
export function subscribePlainly (t: Test, topic: string, brokers = parts.kafkaBrokers): PlainRecord[] {
  // Of kafkajs, see src/kafkajs/request-timer.ts.
  const quiet = '--disable-warning=TimeoutNegativeWarning'
  const child = spawn(process.execPath, [quiet, 'test/support/plain-subscriber.js', brokers, topic], {
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const records: PlainRecord[] = []
  const seen = new Set<string>()
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()!
    for (const line of lines) {
      const [partition, offset, key] = line.split(' ') as [string, string, string]
      const place = `${partition} ${offset}`
      // It comes again after a rebalance.
      if (!seen.has(place)) records.push({ partition: Number(partition), offset, key })
      seen.add(place)
    }
  })
  return records
}

interface Collected { events: ReceivedOrderEvent[] }

/**
 * Everything that is on the topic by now: posts orders until each partition brought one of them, so that whatever was
 * published before has been seen, duplicates too.
 * @returns how often each order was told, without the orders posted here
 */
export async function eventCounts ({ events }: Collected, url: string, partitions = 3): Promise<Map<string, number>> {
  const agent = new Agent({ keepAlive: true })
  const own = new Set<string>()
  await eventually(async () => {
    const told = await Promise.all(Array.from({ length: 4 }, () => send(agent, 'POST', url, JSON.stringify(aNewOrder))))
    for (const id of storedIds(told)) own.add(id)
    const seen = new Set(events.filter(({ event }) => own.has(event.orderId)).map(({ partition }) => partition))
    return seen.size === partitions
  }, 40_000, 'an event in each partition')
  agent.destroy()
  const counts = new Map<string, number>()
  for (const {
    event: { orderId }
  } of events) { if (!own.has(orderId)) counts.set(orderId, (counts.get(orderId) ?? 0) + 1) }
  return counts
}

/**
 * Each order that MongoDB holds is on the topic once, and nothing else is; and what the senders were told is stored.
 */
export async function assertExactlyOnce (t: Test, { client, namespace, ids, collected, url, partitions }: {
  client: MongoClient, namespace: string, ids: string[], collected: Collected, url: string, partitions?: number
}): Promise<void> {
  const orders = client.db(namespace).collection('orders')
  const stored = new Set(
    (await orders.find({}, { projection: { _id: 1 }, readConcern: 'majority' }).toArray()).map(({ _id }) => String(_id))
  )
  t.strictSame(ids.filter((id) => !stored.has(id)), [], 'each 201 is in MongoDB')
  t.equal(new Set(ids).size, ids.length, 'each 201 is an order of its own')
  const counts = await eventCounts(collected, url, partitions)
  t.strictSame([...stored].filter((id) => !counts.has(id)), [], 'no event is missing')
  t.strictSame(
    [...counts].filter(([id, count]) => count !== 1 || !stored.has(id)),
    [],
    'no event came twice or without its order'
  )
}
