import { spawn, type SpawnOptions } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import getPort, { portNumbers } from 'get-port'
import { within } from '../../src/runtime/deadline.ts'
import { atEnd, endPartsIn } from './parts.ts'

const READY_MS_MAX = 90_000
const POLL_MS = 10
/** Above CLOSE_DELAY_MS and what the parts may take after it. */
const END_MS_MAX = 40_000
const OUTPUT_CHARS_MAX = 10_000

/**
 * Not the defaults, as a service may be running; and below the range that outgoing connections are given ports from.
 */
const [PORT, METRICS_PORT] = [
  await getPort({ port: portNumbers(18_002, 18_099) }),
  await getPort({ port: portNumbers(19_202, 19_299) })
]

export type Settings = Record<string, string>
export type Service = ReturnType<typeof launch>

export function environment (dir: string, settings: Settings = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    HOST: '127.0.0.1',
    PORT: String(PORT),
    METRICS_PORT: String(METRICS_PORT),
    MONGO_URL: '',
    REDIS_URL: '',
    KAFKA_BROKERS: '',
    KAFKA_TOPIC: 'order-events',
    RESPONSE_ENVELOPE: 'off',
    LOG_LEVEL: 'warn',
    NODE_ENV: 'development',
    LOCAL_DIR: dir,
    ...settings
  }
}

/** The service as `npm start` starts it, or another command that starts it. */
export function launch (
  dir: string,
  settings: Settings = {},
  command = [process.execPath, '--enable-source-maps', 'dist/src/index.js'],
  options: SpawnOptions = {}
) {
  mkdirSync(dir, { recursive: true })
  const begun = performance.now()
  const child = spawn(command[0]!, command.slice(1), {
    env: environment(dir, settings),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options
  })
  let output = ''
  let ended: number | NodeJS.Signals | undefined
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_CHARS_MAX)
    })
  }
  const exit = once(child, 'exit').then(([code, signal]) => {
    ended = code ?? signal
  })
  const closed = once(child, 'close')
  atEnd(async () => {
    await stop().catch(() => child.kill('SIGKILL'))
    await endPartsIn(dir)
  })

  /**
   * @param url for another command than the service's, with the status that says that it is ready
   * @returns ms from the launch until /readyz says 200
   */
  async function ready (url = `${service.operationsUrl}/readyz`, readyStatus = 200): Promise<number> {
    while (performance.now() - begun < READY_MS_MAX) {
      if (ended !== undefined) throw new Error(`the service ended with ${ended}: ${output.trim()}`)
      if (
        await fetch(url).then(
          ({ status }) => status === readyStatus,
          () => false
        )
      ) { return performance.now() - begun }
      await delay(POLL_MS)
    }
    throw new Error(`the service was not ready within ${READY_MS_MAX} ms: ${output.trim()}`)
  }

  /** @returns ms until it has ended */
  async function stop (signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    const start = performance.now()
    if (ended === undefined) child.kill(signal)
    await within(END_MS_MAX, 'the end of the service', exit)
    return performance.now() - start
  }

  const service = {
    dir,
    pid: child.pid!,
    url: `http://127.0.0.1:${settings.PORT ?? PORT}`,
    operationsUrl: `http://127.0.0.1:${settings.METRICS_PORT ?? METRICS_PORT}`,
    ready,
    stop,
    /** Resolves when it has ended by itself and all that it printed is here. */
    async ended (): Promise<{ code: number | NodeJS.Signals, output: string, ms: number }> {
      await within(END_MS_MAX, 'the end of the service', closed)
      return { code: ended!, output, ms: performance.now() - begun }
    },
    get hasEnded (): boolean {
      return ended !== undefined
    },
    get output (): string {
      return output
    }
  }
  return service
}

export async function startService (dir: string, settings: Settings = {}): Promise<Service> {
  const service = launch(dir, settings)
  await service.ready()
  return service
}

/** The value of one series of /metrics; 0 when it isn't there yet. */
export async function metric ({ operationsUrl }: Service, series: string): Promise<number> {
  const text = await (await fetch(`${operationsUrl}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return line === undefined ? 0 : Number(line.slice(series.length + 1))
}

/** Polls, with a bound. @returns ms that it took */
export async function eventually (
  what: string,
  msMax: number,
  condition: () => boolean | Promise<boolean>
): Promise<number> {
  const start = performance.now()
  while (!(await condition())) {
    if (performance.now() - start > msMax) throw new Error(`${what} did not come true within ${msMax} ms`)
    await delay(POLL_MS)
  }
  return performance.now() - start
}
