import getPort, { portNumbers } from 'get-port'
import { join } from 'node:path'
import { atEnd } from './parts.ts'
import { eventually, launch, type Service, type Settings } from './service.ts'
import { startProxy, type Proxy } from './proxy.ts'

/**
 * Each replica looks for its ports from its own first one on: those of other drivers' replicas are free only while
 * these are down.
 */
const FIRST_PORT = 16_100
const PORTS_EACH = 10
const METRICS_PORTS_ABOVE = 1_200
const ANSWER_MS_MAX = 1_000
const LEADER_MS_MAX = 60_000

export interface Replica {
  index: number
  /** Of the proxy before it. */
  url: string
  proxy: Proxy
  service: Service
  /** @param more modules to import first, in addition to those of every replica */
  start: (...more: string[]) => Promise<void>
  kill: () => Promise<void>
  signal: (name: NodeJS.Signals) => void
}

export type Replicas = Awaited<ReturnType<typeof startReplicas>>

/** The service as processes, as many as are wanted, and a proxy before each. */
export async function startReplicas ({
  dir,
  count,
  urls,
  settings: more = {},
  imports = [],
  firstPort = FIRST_PORT
}: {
  dir: string
  count: number
  urls: { mongo: string, redis: string, kafka: string }
  settings?: Settings
  imports?: string[]
  firstPort?: number
}) {
  const replicas: Replica[] = []
  for (let index = 0; index < count; index++) replicas.push(await create(index))
  for (const replica of replicas) await replica.start()

  async function create (index: number): Promise<Replica> {
    const first = firstPort + PORTS_EACH * index
    const port = await getPort({ port: portNumbers(first, first + PORTS_EACH - 1) })
    const metricsPort = await getPort({
      port: portNumbers(first + METRICS_PORTS_ABOVE, first + METRICS_PORTS_ABOVE + PORTS_EACH - 1)
    })
    const settings: Settings = {
      ...more,
      PORT: String(port),
      METRICS_PORT: String(metricsPort),
      MONGO_URL: urls.mongo,
      REDIS_URL: urls.redis,
      KAFKA_BROKERS: urls.kafka
    }
    const proxy = await startProxy(port)
    atEnd(async () => proxy.end())
    const replica: Replica = {
      index,
      url: `http://127.0.0.1:${proxy.port}`,
      proxy,
      service: undefined as unknown as Service, // until `start`
      async start (...more) {
        const modules = [...imports, ...more].flatMap((module) => ['--import', module])
        replica.service = launch(join(dir, `service-${index}`), settings, [
          process.execPath,
          '--enable-source-maps',
          ...modules,
          'dist/src/index.js'
        ])
        atEnd(replica.kill)
        await replica.service.ready()
      },
      async kill () {
        await replica.service.stop('SIGKILL')
      },
      signal (name) {
        try {
          process.kill(replica.service.pid, name)
        } catch {
          // It has ended by itself.
        }
      }
    }
    return replica
  }

  /** Whether it can serve, and whether it publishes; neither when it doesn't answer. */
  async function state ({ service }: Replica): Promise<{ ready: boolean, leads: boolean }> {
    try {
      const response = await fetch(`${service.operationsUrl}/readyz`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
      return { ready: response.ok, leads: ((await response.json()) as { relay: string }).relay === 'leader' }
    } catch {
      return { ready: false, leads: false }
    }
  }

  async function leader (): Promise<Replica> {
    let found: Replica | undefined
    await eventually('a leader of the relay', LEADER_MS_MAX, async () => {
      for (const replica of replicas) if ((await state(replica)).leads) found = replica
      return found !== undefined
    })
    return found!
  }

  return {
    all: replicas,
    state,
    leader,
    /** Starts again what has ended, be it by itself. */
    async heal (): Promise<void> {
      for (const replica of replicas) {
        replica.proxy.open()
        replica.signal('SIGCONT')
        if (replica.service.hasEnded) await replica.start()
      }
    }
  }
}
