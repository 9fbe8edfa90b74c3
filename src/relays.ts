import { createLayoutKeeper, type LayoutOptions } from './layout-change.ts'
import { leaseName } from './lease.ts'
import { createRelay, type RelayObserver, type RelayOptions } from './relay.ts'
import type { Checkpoint } from './relay-topics.ts'
import { shardsOf } from './shards.ts'
import { createComplaints } from './terms.ts'

/*
 * The relays of a process, one for each shard. Each is a candidate of its own, so the shards of a process that died go to whoever
 * is there, and a process that leads less than another is the first to take a free one.
 */

/** For each lease that this process holds a free lease is left to the others for so long; more than the time between two of their looks. */
const PATIENCE_MS = 700
/** A dead process's shards must be led again soon, also by who leads many. */
const PATIENCE_MS_MAX = 2_100

export interface RelaysObserver extends Omit<RelayObserver, 'leader'> {
  /** How many shards this process leads. */
  leader: (shards: number) => void
}

export type RelaysOptions = Omit<RelayOptions, 'lease' | 'observe' | 'shard' | 'layout' | 'attempt' | 'released' | 'complain'> & LayoutOptions & { observe: RelaysObserver }

export type Relays = ReturnType<typeof createRelays>

export function createRelays (options: RelaysOptions) {
  const { topic, shards, leaseOf, log, observe } = options
  const layout = createLayoutKeeper(options)
  const complain = createComplaints(log)
  const unknowable = new Map<number, number>()
  let held = 0
  let turn: Promise<unknown> = Promise.resolve()
  const led = (): number => relays.filter(({ leads }) => leads).length
  const relays = shardsOf(shards).map((shard) => createRelay({
    ...options,
    shard,
    layout,
    complain,
    lease: leaseOf(leaseName(topic.topic, shard)),
    attempt: (claim) => {
      // One after the other, as each that succeeds makes the next one wait longer.
      const mine = turn.then(async () => {
        const isMine = await claim(Math.min(held * PATIENCE_MS, PATIENCE_MS_MAX))
        if (isMine) held++
        return isMine
      })
      turn = mine.catch(() => {})
      return mine
    },
    released: () => { held-- },
    observe: {
      ...observe,
      leader: () => observe.leader(led()),
      unknowable: (orders) => {
        unknowable.set(shard.index, orders)
        observe.unknowable([...unknowable.values()].reduce((sum, one) => sum + one, 0))
      }
    }
  }))

  return {
    start (): void {
      for (const relay of relays) relay.start()
    },

    async stop (): Promise<void> {
      await Promise.all(relays.map((relay) => relay.stop()))
    },

    /** How many shards this process leads. */
    get led (): number { return led() },

    get leads (): boolean { return led() > 0 },

    /** For each shard that this process leads how far it is. */
    get positions (): (Checkpoint | undefined)[] { return relays.map(({ position }) => position) }
  }
}
