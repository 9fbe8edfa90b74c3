import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, Document, Timestamp } from 'mongodb'
import type { ClusterTime } from './change-event.ts'
import { deadline, within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'

/*
 * One leader among the replicas. The lease is judged by MongoDB's clock, so that the replicas' clocks don't matter; the
 * holder stops by its own monotonic clock before the lease ends. A holder that was paused can't know that: it is fenced
 * by Kafka. The lease makes two relays unlikely, the fence makes them harmless.
 */

/** A dead leader is followed after this time. */
const LEASE_MS = 5_000
const RENEW_MS = LEASE_MS / 3
/** How soon a lease that was given back is taken up. */
const POLL_MS = 500
const ANSWER_MS_MAX = 2_000
/** How long nobody may lead before a waiting process says so, and how often it looks. */
const WITHOUT_LEADER_MS = 60_000
const LOOK_MS = 10_000
/** How many former holders are remembered: a checkpoint by any other is none of this MongoDB's. */
const OWNERS_MAX = 100

/** Holds the relay's origin and its lease, one of each for a topic. */
export const RELAY_COLLECTION = 'relay'

export function leaseName (topic: string): string {
  return `lease:${topic}`
}

/** The name of the document that says where the first relay began. */
export function originName (topic: string): string {
  return `origin:${topic}`
}

/** @param source a name for the orders of this MongoDB, drawn with the origin */
export interface OriginDocument { _id: string, operationTime: Timestamp, source: string }

export interface LeaseDocument {
  _id: string
  owner: string
  expiresAt: Date
  epoch: number
  /** How far the last holder was, as of its last renewal. */
  position?: Document
  /** The last holder gave the lease back with this position, so nothing was published after it. */
  final?: boolean
  /** The holder publishes. */
  leads?: boolean
  /** All that was inserted before this time of the cluster is published. */
  drained?: ClusterTime
  /** The present holder and those before it, latest first, since one of them began. */
  owners?: string[]
  /**
   * Of the last checkpoint when the last one began: a later one that none of them wrote is of another MongoDB's relay.
   */
  begunAt?: number
}

/** What a holder reports when it renews. */
export interface Holding { position: Document | undefined, leads: boolean, drained: ClusterTime | undefined }

export type Lease = ReturnType<typeof createLease>

export interface LeaseOptions {
  collection: Collection<LeaseDocument>
  name: string
  /** Unique for each process. */
  owner: string
  log: Logger
  withoutLeaderMs?: number
  lookMs?: number
}

export function createLease ({
  collection,
  name,
  owner,
  log,
  withoutLeaderMs = WITHOUT_LEADER_MS,
  lookMs = LOOK_MS
}: LeaseOptions) {
  const majority = { writeConcern: { w: 'majority' as const } }

  /** One round trip. */
  async function claim (
    { position, leads, drained }: Holding = { position: undefined, leads: false, drained: undefined }
  ): Promise<boolean> {
    const mine = { $eq: ['$owner', owner] }
    const others = { $filter: { input: { $ifNull: ['$owners', []] }, cond: { $ne: ['$$this', owner] } } }
    // Free is also a lease that ends later than any that begins now: it is of a MongoDB whose clock was ahead, or of
    // another release.
    const free = {
      $or: [mine, { $lte: ['$expiresAt', '$$NOW'] }, { $gt: ['$expiresAt', { $add: ['$$NOW', 2 * LEASE_MS] }] }]
    }
    const held = await within(
      ANSWER_MS_MAX,
      "MongoDB's answer",
      collection.findOneAndUpdate(
        { _id: name, $expr: free },
        [
          {
            $set: {
              epoch: { $cond: [mine, '$epoch', { $add: ['$epoch', 1] }] },
              owner,
              owners: { $slice: [{ $concatArrays: [[owner], others] }, OWNERS_MAX] },
              expiresAt: { $add: ['$$NOW', LEASE_MS] },
              leads,
              ...(position === undefined ? {} : { position: { $literal: position } }),
              ...(drained === undefined ? {} : { drained })
            }
          }
        ],
        { projection: { _id: 1 }, ...majority }
      )
    )
    return held !== null
  }

  /** One that was never held is free from its first mention on. */
  async function ensure (): Promise<void> {
    const orElse = (field: string, value: unknown): Document => ({ $ifNull: [field, value] })
    await within(
      ANSWER_MS_MAX,
      "MongoDB's answer",
      collection.updateOne(
        { _id: name },
        [
          {
            $set: { owner: orElse('$owner', ''), expiresAt: orElse('$expiresAt', '$$NOW'), epoch: orElse('$epoch', 0) }
          }
        ],
        { upsert: true }
      )
    )
  }

  async function read (): Promise<LeaseDocument | null> {
    return await collection.findOne(
      { _id: name },
      { readConcern: 'majority', readPreference: 'primary', ...deadline(ANSWER_MS_MAX) }
    )
  }

  /**
   * Whoever waits looks from time to time whether anybody leads: a holder that doesn't may be stuck, and has nobody to
   * say so.
   */
  function createWatch () {
    let ledAt = performance.now()
    let lookedAt = performance.now()
    return async function look (): Promise<void> {
      const now = performance.now()
      if (now - lookedAt < lookMs) return
      lookedAt = now
      const leased = await read().catch(() => undefined)
      if (leased === null) return await ensure() // somebody has dropped the database
      const { owner: holder, expiresAt, leads } = leased ?? {}
      if (leads === true) ledAt = now
      if (holder === undefined || now - ledAt < withoutLeaderMs) return
      ledAt = now
      log.warn(
        { lease: name, holder, until: expiresAt },
        `no process has published events for ${withoutLeaderMs / 1000} s: the lease ${name} is held by ${holder}, whose log says why it does not publish`
      )
    }
  }

  return {
    owner,

    /**
     * Waits until the lease is ours or `signal` aborts.
     * @returns until when it is ours (performance.now()), undefined if aborted
     */
    async acquire (signal: AbortSignal): Promise<number | undefined> {
      await ensure()
      const look = createWatch()
      while (!signal.aborted) {
        const start = performance.now()
        if (await claim()) return start + LEASE_MS
        await look()
        await delay(POLL_MS, undefined, { signal }).catch(() => {})
      }
      return undefined
    },

    /** Renews from time to time until `signal` aborts or the lease is lost; resolves then. */
    async hold (until: number, signal: AbortSignal, holding: () => Holding): Promise<void> {
      while (!signal.aborted) {
        await delay(Math.min(RENEW_MS, Math.max(0, until - performance.now())), undefined, { signal }).catch(() => {})
        if (signal.aborted || performance.now() >= until) return
        const start = performance.now()
        // A renewal that fails is tried again at the next turn, as long as the lease lasts.
        const renewed = await claim(holding()).catch(() => undefined)
        if (renewed === false) return
        if (renewed === true) until = start + LEASE_MS
      }
    },

    read,

    /**
     * From now on something may be published after the last holder's position, and nothing more by the holders before
     * this one.
     * @param seq of the last checkpoint, if it is known to be of this MongoDB
     * @throws Error if the lease is another's by now
     */
    async begin (seq: number | undefined): Promise<void> {
      const begun = seq === undefined ? { final: false } : { final: false, owners: [owner], begunAt: seq }
      const { matchedCount } = await within(
        ANSWER_MS_MAX,
        "MongoDB's answer",
        collection.updateOne({ _id: name, owner }, { $set: begun }, majority)
      )
      if (matchedCount === 0) throw new Error(`the lease ${name} has another holder by now`)
    },

    /**
     * Gives it back, so that a successor need not wait for its end.
     * @param final nothing was published after `position`
     */
    async release (position: Document | undefined, final: boolean): Promise<void> {
      await within(
        ANSWER_MS_MAX,
        "MongoDB's answer",
        collection.updateOne(
          { _id: name, owner },
          [
            {
              $set: {
                owner: '',
                expiresAt: '$$NOW',
                leads: false,
                ...(position === undefined ? {} : { position: { $literal: position }, final })
              }
            }
          ],
          majority
        )
      ).catch(() => {})
    }
  }
}
