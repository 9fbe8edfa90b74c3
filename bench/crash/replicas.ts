import getPort, { portNumbers } from 'get-port'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { atEnd } from '../prove/parts.ts'
import { eventually, launch, type Service, type Settings } from '../prove/service.ts'
import type { Cluster } from './cluster.ts'
import { startProxy, type Proxy } from './proxy.ts'

const ANSWER_MS_MAX = 1_000
const LEADER_MS_MAX = 60_000

export interface Replica {
  index: number
  /** Of the proxy before it. */
  url: string
  proxy: Proxy
  service: Service
  /** @param more names of files to load first, beside those of every replica */
  start: (...more: string[]) => Promise<void>
  kill: () => Promise<void>
  signal: (name: NodeJS.Signals) => void
}

export type Replicas = Awaited<ReturnType<typeof startReplicas>>

/** The service as processes, as many as are wanted, and a proxy before each. */
export async function startReplicas ({ dir, count, shards, urls, preload }: { dir: string, count: number, shards: number, urls: Cluster['urls'], preload: string[] }) {
  const replicas: Replica[] = []
  for (let index = 0; index < count; index++) replicas.push(await create(index))
  for (const replica of replicas) await replica.start()

  async function create (index: number): Promise<Replica> {
    const port = await getPort({ port: portNumbers(18_100 + 10 * index, 18_109 + 10 * index) })
    const metricsPort = await getPort({ port: portNumbers(19_300 + 10 * index, 19_309 + 10 * index) })
    const settings: Settings = { PORT: String(port), METRICS_PORT: String(metricsPort), MONGO_URL: urls.mongo, REDIS_URL: urls.redis, KAFKA_BROKERS: urls.kafka, RELAY_SHARDS: String(shards) }
    const proxy = await startProxy(port)
    atEnd(async () => proxy.end())
    const replica: Replica = {
      index,
      url: `http://127.0.0.1:${proxy.port}`,
      proxy,
      service: undefined as unknown as Service, // until `start`
      async start (...more) {
        const imports = [...preload, ...more].flatMap((name) => ['--import', pathToFileURL(resolve('dist', 'bench', 'crash', 'preload', `${name}.js`)).href])
        replica.service = launch(join(dir, `service-${index}`), settings, [process.execPath, '--enable-source-maps', ...imports, 'dist/src/index.js'])
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
      return { ready: response.ok, leads: (await response.json() as { relay: string }).relay === 'leader' }
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
