import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { choosePorts, releasePorts, rememberPorts } from './ports.ts'
import { KILL_LIMIT_MS, TERM_LIMIT_MS, endLeftover, killAtExit, signal, writeIdentity } from './processes.ts'
import { type Env, tellingLine } from './run.ts'

export type PartName = 'mongo' | 'redis' | 'kafka'

/**
 * A running server. It survives the terminal's Ctrl-C, and dies with this process unless that is killed with SIGKILL.
 */
export interface Part {
  readonly name: PartName
  readonly pid: number
  readonly port: number
  readonly url: string
  readonly exited: boolean
  /** Resolves when it has ended: after `signal` (SIGTERM), or after SIGKILL 8 s later. */
  stop (signal?: NodeJS.Signals): Promise<void>
  /** SIGKILL; resolves when it has ended. */
  kill (): Promise<void>
  /** SIGSTOP: it hangs with its connections open. */
  pause (): void
  resume (): void
  /** Starts it again after `stop` or `kill`, on the same port and data. */
  start (): Promise<void>
}

/** What differs between the three. */
export interface Recipe {
  name: PartName
  /** Holds data, log, pid and ports of this part. */
  dir: string
  env: Env
  /** The first is the one in the URL. */
  preferredPorts: number[]
  /** Chosen by the caller, who also claims and releases them. */
  ports?: number[]
  url (port: number): string
  /** Brings the data and the configuration into the state in which this command can run. */
  command (ports: number[]): Promise<{ file: string, args: string[] }>
  /** True once this very process (another one may sit on its port) serves; rejects or is false until then. */
  ready (pid: number, ports: number[]): Promise<boolean>
}

/** Unclean shutdowns are repaired in this time too. */
const START_LIMIT_MS = 60_000
const READY_POLL_MS = 15

/** How often another process may snatch the port between our look and the bind. */
const PORT_TRIES = 5

export async function startPart (recipe: Recipe): Promise<Part> {
  const { name, dir } = recipe
  const pidFile = join(dir, 'pid.json')
  const logFile = join(dir, `${name}.log`)
  mkdirSync(dir, { recursive: true })
  await endLeftover(pidFile)
  rmSync(`${logFile}.old`, { force: true })
  try { renameSync(logFile, `${logFile}.old`) } catch { /* the first run */ }

  let ports: number[] = []
  let server!: Server // the present one, or the last one that ended
  let starting: Promise<void> | undefined
  await launchOnFreePorts()
  rememberPorts(dir, ports)

  return {
    name,
    get pid () { return server.pid },
    get port () { return ports[0]! },
    get url () { return recipe.url(ports[0]!) },
    get exited () { return server.ended },
    async stop (signalName = 'SIGTERM') {
      await end(signalName)
    },
    async kill () {
      await end('SIGKILL')
    },
    pause () { if (!server.ended) signal(server.pid, 'SIGSTOP') },
    resume () { if (!server.ended) signal(server.pid, 'SIGCONT') },
    async start () {
      if (!starting && !server.ended) return
      starting ??= launch().finally(() => { starting = undefined })
      await starting
    },
  }

  async function launchOnFreePorts (): Promise<void> {
    if (recipe.ports !== undefined) {
      ports = recipe.ports
      return await launch()
    }
    const refused = new Set<number>()
    for (let tries = 1; ; tries++) {
      ports = await choosePorts(dir, recipe.preferredPorts, refused)
      try {
        return await launch()
      } catch (error) {
        releasePorts(dir)
        if (!(error instanceof PortTaken) || tries === PORT_TRIES) throw error
        for (const port of ports) refused.add(port)
      }
    }
  }

  async function launch (): Promise<void> {
    const { file, args } = await recipe.command(ports)
    const log = openSync(logFile, 'a')
    const logBegin = fstatSync(log).size
    // In a session of its own, so that the terminal's Ctrl-C ends the service first and the service ends its parts.
    const child = spawn(file, args, { cwd: dir, env: recipe.env, detached: true, stdio: ['ignore', log, log] })
    closeSync(log)
    server = watch(child)
    if (child.pid) writeIdentity(pidFile, child.pid)
    for (const end = Date.now() + START_LIMIT_MS; Date.now() < end && !server.ended; await sleep(READY_POLL_MS)) {
      if (await recipe.ready(server.pid, ports).catch(() => false)) return
    }
    const reason = server.ended ? 'ended at once' : `was not ready within ${START_LIMIT_MS / 1000} s`
    await endServer(server, 'SIGKILL')
    const text = readFileSync(logFile).subarray(logBegin).toString()
    const message = `${name} ${reason}: ${server.error?.message ?? tellingLine(text)} (log: ${logFile}; to begin with empty data, remove ${dir})`
    throw /address already in use/i.test(text) ? new PortTaken(message) : new Error(message)
  }

  async function end (signalName: NodeJS.Signals) {
    await endServer(server, signalName)
    rmSync(pidFile, { force: true })
  }
}

class PortTaken extends Error {}

interface Server { child: ChildProcess, pid: number, ended: boolean, error?: Error, end: Promise<void> }

function watch (child: ChildProcess): Server {
  const forget = killAtExit(child)
  const server: Server = { child, pid: child.pid ?? 0, ended: false, end: Promise.resolve() }
  server.end = new Promise((resolve) => {
    const onEnd = (error?: Error) => {
      server.ended = true
      server.error = error
      forget()
      resolve()
    }
    child.once('exit', () => onEnd())
    child.once('error', onEnd)
  })
  child.unref()
  return server
}

async function endServer (server: Server, signalName: NodeJS.Signals): Promise<void> {
  if (server.ended) return
  server.child.kill(signalName)
  server.child.kill('SIGCONT') // a paused process doesn't see the SIGTERM otherwise
  if (await endsWithin(server, signalName === 'SIGKILL' ? KILL_LIMIT_MS : TERM_LIMIT_MS)) return
  server.child.kill('SIGKILL')
  if (!(await endsWithin(server, KILL_LIMIT_MS))) {
    throw new Error(`process ${server.pid} does not end, not even after SIGKILL`)
  }
}

async function endsWithin (server: Server, limitMs: number): Promise<boolean> {
  const limit = new AbortController()
  await Promise.race([server.end, sleep(limitMs, undefined, limit)])
  limit.abort()
  return server.ended
}
