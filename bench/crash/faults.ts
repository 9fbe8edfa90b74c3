import { setTimeout as delay } from 'node:timers/promises'
import type { Member } from '../rig/cluster.ts'
import type { Proxy } from '../rig/proxy.ts'
import type { Replica } from '../rig/replicas.ts'
import { BROKER_FAULTS } from './broker-faults.ts'
import { kill, killReplica, nothing, OUTAGE_MS, pause, together, ZOMBIE_MS, type Fault, type Target } from './harm.ts'
import { preloaded } from './preloads.ts'

/** In which the primary takes orders that nobody else gets. */
const STALL_MS = 1_500

async function signalReplica (replica: Replica, name: NodeJS.Signals): Promise<() => Promise<void>> {
  replica.signal(name)
  return async () => {
    replica.signal('SIGCONT')
    if (replica.service.hasEnded) await replica.start()
  }
}

/**
 * mongod answers commands of the service with a failure. Should another become primary meanwhile, that one does not
 * fail.
 */
async function failCommand (
  { cluster }: Target,
  failCommands: string[],
  data: object,
  mode: object | string
): Promise<() => Promise<void>> {
  const member = await cluster.primary()
  const fail = (settings: object): Promise<unknown> =>
    cluster.ask(member, { configureFailPoint: 'failCommand', ...settings })
  await fail({ mode, data: { failCommands, appName: 'order-service', ...data } })
  return async () => {
    await fail({ mode: 'off' })
  }
}

async function stepDown ({ cluster }: Target): Promise<() => Promise<void>> {
  const member: Member = await cluster.primary()
  await cluster.ask(member, { replSetStepDown: 5, secondaryCatchUpPeriodSecs: 2, force: true })
  return nothing
}

/**
 * The primary has orders that no other member has, and dies; its successor goes on without them, and it rolls them back
 * when it returns. (The fail point keeps a secondary from fetching.)
 */
async function killAhead ({ cluster }: Target): Promise<() => Promise<void>> {
  const primary = await cluster.primary()
  const secondaries = cluster.members.filter((member) => member !== primary)
  const stall = (mode: string): Promise<unknown> =>
    Promise.all(secondaries.map((member) => cluster.ask(member, { configureFailPoint: 'stopReplProducer', mode })))
  await stall('alwaysOn')
  await delay(STALL_MS)
  await primary.part.kill()
  await stall('off')
  return () => primary.part.start()
}

/** For a moment, or until the fault ends. */
async function cut (proxies: Proxy[], lasting = false): Promise<() => Promise<void>> {
  for (const proxy of proxies) if (lasting) proxy.close(); else proxy.cut()
  return async () => { for (const proxy of proxies) proxy.open() }
}

async function turnClock ({ replicas, random }: Target): Promise<() => Promise<void>> {
  const replica = random.pick(replicas.all)
  await replica.kill()
  await replica.start(preloaded('clock'))
  return async () => {
    await replica.kill()
    await replica.start()
  }
}

const OUT_OF_DISK_SPACE = { errorCode: 14031 }
const PRIMARY_STEPPED_DOWN = { errorCode: 189 }
const UNCONFIRMED = {
  writeConcernError: { code: 64, errmsg: 'waiting for replication timed out', codeName: 'WriteConcernFailed' }
}

export const FAULTS: Fault[] = [
  {
    name: 'kill-service',
    title: 'SIGKILL of a service',
    often: 110,
    holdMs: 1_000,
    inject: ({ replicas, random }) => killReplica(random.pick(replicas.all))
  },
  {
    name: 'kill-leader',
    title: "SIGKILL of the relay's leader",
    often: 60,
    holdMs: 1_000,
    inject: async ({ replicas }) => killReplica(await replicas.leader())
  },
  {
    name: 'kill-all',
    title: 'SIGKILL of all services',
    often: 12,
    holdMs: 500,
    inject: ({ replicas }) => together(replicas.all.map(killReplica))
  },
  {
    name: 'kill-primary',
    title: "SIGKILL of MongoDB's primary",
    often: 42,
    holdMs: OUTAGE_MS,
    inject: async ({ cluster }) => kill((await cluster.primary()).part)
  },
  { name: 'kill-ahead', title: 'SIGKILL of a primary that is ahead', often: 12, holdMs: OUTAGE_MS, inject: killAhead },
  {
    name: 'kill-redis',
    title: 'SIGKILL of Redis',
    often: 30,
    holdMs: OUTAGE_MS,
    inject: ({ cluster }) => kill(cluster.redis)
  },

  {
    name: 'stop-service',
    title: 'SIGSTOP of a service',
    often: 20,
    holdMs: OUTAGE_MS,
    inject: ({ replicas, random }) => signalReplica(random.pick(replicas.all), 'SIGSTOP')
  },
  {
    name: 'stop-leader',
    title: "SIGSTOP of the relay's leader",
    often: 20,
    holdMs: ZOMBIE_MS,
    inject: async ({ replicas }) => signalReplica(await replicas.leader(), 'SIGSTOP')
  },
  {
    name: 'stop-primary',
    title: "SIGSTOP of MongoDB's primary",
    often: 20,
    holdMs: ZOMBIE_MS,
    inject: async ({ cluster }) => pause((await cluster.primary()).part)
  },
  {
    name: 'stop-redis',
    title: 'SIGSTOP of Redis',
    often: 20,
    holdMs: OUTAGE_MS,
    inject: ({ cluster }) => pause(cluster.redis)
  },

  { name: 'step-down', title: "stepdown of MongoDB's primary", often: 6, holdMs: 0, inject: stepDown },
  {
    name: 'fail-closing',
    title: 'mongod cuts 20 inserts off',
    often: 6,
    holdMs: 500,
    inject: (target) => failCommand(target, ['insert'], { closeConnection: true }, { times: 20 })
  },
  {
    name: 'fail-unconfirmed',
    title: 'mongod does not confirm 20 inserts',
    often: 6,
    holdMs: 500,
    inject: (target) => failCommand(target, ['insert'], UNCONFIRMED, { times: 20 })
  },
  {
    name: 'fail-reads',
    title: 'mongod fails 40 look-ups and leases',
    often: 6,
    holdMs: 1_000,
    inject: (target) =>
      failCommand(target, ['find', 'findAndModify', 'getMore', 'aggregate'], PRIMARY_STEPPED_DOWN, { times: 40 })
  },
  {
    name: 'disk-full',
    title: "mongod's disk is full",
    often: 6,
    holdMs: 2_000,
    inject: (target) => failCommand(target, ['insert'], OUT_OF_DISK_SPACE, 'alwaysOn')
  },

  {
    name: 'cut-mongo',
    title: 'connections to MongoDB cut',
    often: 6,
    holdMs: 0,
    inject: ({ cluster }) => cut(cluster.members.map(({ proxy }) => proxy))
  },
  {
    name: 'cut-primary',
    title: "MongoDB's primary unreachable",
    often: 6,
    holdMs: ZOMBIE_MS,
    inject: async ({ cluster }) => cut([(await cluster.primary()).proxy], true)
  },
  {
    name: 'cut-redis',
    title: 'Redis unreachable',
    often: 6,
    holdMs: OUTAGE_MS,
    inject: ({ cluster }) => cut([cluster.redisProxy], true)
  },
  {
    name: 'cut-clients',
    title: 'connections to the services cut',
    often: 6,
    holdMs: 0,
    inject: ({ replicas }) => cut(replicas.all.map(({ proxy }) => proxy))
  },

  {
    name: 'die-before-commit',
    title: 'the leader dies between send and commit',
    often: 10,
    holdMs: 1_000,
    inject: async ({ replicas }) => signalReplica(await replicas.leader(), 'SIGUSR2')
  },
  {
    name: 'hang-before-send',
    title: 'the leader hangs before it sends',
    often: 6,
    holdMs: ZOMBIE_MS,
    inject: async ({ replicas }) => signalReplica(await replicas.leader(), 'SIGIO')
  },
  {
    name: 'hang-before-commit',
    title: 'the leader hangs between send and commit',
    often: 6,
    holdMs: ZOMBIE_MS,
    inject: async ({ replicas }) => signalReplica(await replicas.leader(), 'SIGWINCH')
  },
  { name: 'clock', title: "a service's clock is an hour ahead", often: 3, holdMs: OUTAGE_MS, inject: turnClock },

  ...BROKER_FAULTS
]
