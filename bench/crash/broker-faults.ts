import { setTimeout as delay } from 'node:timers/promises'
import type { Part } from '../../local/index.ts'
import { kill, killReplica, nothing, OUTAGE_MS, pause, together, type Fault, type Target } from './harm.ts'

/** Short enough for nobody to miss the broker, long enough for all its answers to be late. */
const STUTTER_PAUSE_MS = 50
const STUTTER_RUN_MS_MAX = 100
const STUTTER_MS = 6_000
/** Above the deadline of a transaction (15 s): what was sent is given up before the broker wakes up with it. */
const LONG_PAUSE_MS = 20_000
/** In which the others notice that a broker is dead and refuse what needs three of them. */
const TOO_FEW_MS = 6_000
const ELECTIONS = 5
const BETWEEN_MS = 500
const REASSIGNMENTS = 2
const IN_SYNC_WANTED = 3

async function stutter ({ cluster, random }: Target): Promise<() => Promise<void>> {
  const part = random.pick(cluster.brokers.all)
  const stuttering = (async () => {
    for (const end = performance.now() + STUTTER_MS; performance.now() < end;) {
      part.pause()
      await delay(STUTTER_PAUSE_MS)
      part.resume()
      await delay(random.below(STUTTER_RUN_MS_MAX))
    }
  })()
  return () => stuttering
}

/** One after the other, as an operator does it: the next when all replicas are in sync again. */
async function restartEach ({ cluster: { brokers } }: Target): Promise<() => Promise<void>> {
  for (const part of brokers.all) {
    await part.stop()
    await part.start()
    await brokers.inSync()
  }
  return nothing
}

async function electLeaders ({ cluster: { brokers } }: Target): Promise<() => Promise<void>> {
  for (let times = 0; times < ELECTIONS; times++) {
    await brokers.moveLeaders()
    await delay(BETWEEN_MS)
  }
  return nothing
}

async function moveReplicas ({ cluster: { brokers } }: Target): Promise<() => Promise<void>> {
  for (let times = 0; times < REASSIGNMENTS; times++) await brokers.moveReplicas()
  return nothing
}

/**
 * The events' topic wants three replicas in sync and has two, so that what is sent is refused. (That two are wanted and
 * one is there can't be had: with two of three away no majority of controllers is left to say so.)
 */
async function wantTooMany ({ cluster: { brokers }, random }: Target): Promise<() => Promise<void>> {
  const part = random.pick(brokers.all)
  await brokers.wantInSync(IN_SYNC_WANTED)
  const start = await kill(part)
  return async () => {
    await brokers.wantInSync(undefined)
    await start()
  }
}

function others ({ cluster, random }: Target): Part[] {
  const spared = random.pick(cluster.brokers.all)
  return cluster.brokers.all.filter((part) => part !== spared)
}

const FAULTS: Omit<Fault, 'perRound'>[] = [
  {
    name: 'kill-broker',
    title: 'SIGKILL of a broker',
    often: 30,
    holdMs: OUTAGE_MS,
    inject: ({ cluster, random }) => kill(random.pick(cluster.brokers.all))
  },
  {
    name: 'kill-leading-broker',
    title: 'SIGKILL of the broker that leads most partitions',
    often: 30,
    holdMs: OUTAGE_MS,
    brokersMin: 3,
    inject: async ({ cluster }) => kill(await cluster.brokers.leading())
  },
  {
    name: 'kill-coordinator',
    title: "SIGKILL of the coordinator of the relay's transactions",
    often: 30,
    holdMs: OUTAGE_MS,
    brokersMin: 3,
    inject: async ({ cluster }) => kill(await cluster.coordinator())
  },
  {
    name: 'kill-two-brokers',
    title: 'SIGKILL of two brokers of three',
    often: 20,
    holdMs: OUTAGE_MS,
    brokersMin: 3,
    inject: (target) => together(others(target).map(kill))
  },
  {
    name: 'kill-broker-and-leader',
    title: "SIGKILL of a broker and of the relay's leader",
    often: 30,
    holdMs: OUTAGE_MS,
    inject: async ({ cluster, replicas, random }) => {
      const [part, leader] = [random.pick(cluster.brokers.all), await replicas.leader()]
      return await together([kill(part), killReplica(leader)])
    }
  },
  {
    name: 'stutter-broker',
    title: 'SIGSTOP of a broker for 50 ms, again and again',
    often: 30,
    holdMs: STUTTER_MS,
    inject: stutter
  },
  {
    name: 'stop-broker',
    title: 'SIGSTOP of the broker that leads most partitions',
    often: 20,
    holdMs: LONG_PAUSE_MS,
    inject: async ({ cluster }) => pause(await cluster.brokers.leading())
  },
  {
    name: 'stop-coordinator',
    title: "SIGSTOP of the coordinator of the relay's transactions",
    often: 20,
    holdMs: LONG_PAUSE_MS,
    brokersMin: 3,
    inject: async ({ cluster }) => pause(await cluster.coordinator())
  },
  {
    name: 'restart-brokers',
    title: 'each broker restarted in turn',
    often: 12,
    holdMs: 0,
    inject: restartEach
  },
  {
    name: 'elect-leaders',
    title: 'all leaders moved by elections, 5 times',
    often: 30,
    holdMs: 0,
    brokersMin: 3,
    inject: electLeaders
  },
  {
    name: 'move-replicas',
    title: 'all partitions taken from their leaders and given back, twice',
    often: 12,
    holdMs: 0,
    brokersMin: 3,
    inject: moveReplicas
  },
  {
    name: 'too-few-in-sync',
    title: 'a broker killed while the topic wants all in sync',
    often: 12,
    holdMs: TOO_FEW_MS,
    brokersMin: 3,
    inject: wantTooMany
  }
]

/** Twice a round, so that half of the faults of a round are at brokers. */
export const BROKER_FAULTS: Fault[] = FAULTS.map((fault) => ({ ...fault, perRound: 2 }))
