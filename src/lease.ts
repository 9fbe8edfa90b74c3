import { setTimeout as delay } from 'node:timers/promises'
import type { Collection, Document, Timestamp } from 'mongodb'
import { deadline, within } from './deadline.ts'

/*
 * One leader among the replicas. The lease is judged by MongoDB's clock, so that the replicas' clocks don't matter; the holder
 * stops by its own monotonic clock before the lease ends. A holder that was paused can't know that: it is fenced by Kafka.
 * The lease makes two relays unlikely, the fence makes them harmless.
 */

/** A dead leader is followed after this time. */
const LEASE_MS = 5_000
const RENEW_MS = LEASE_MS / 3
/** How soon a lease that was given back is taken up. */
const POLL_MS = 500
const ANSWER_MS_MAX = 2_000

/** Holds the relay's origin and its lease, one of each for a topic. */
export const RELAY_COLLECTION = 'relay'
export function leaseName (topic: string): string {
  return `lease:${topic}`
}

/** The name of the document that says where the first relay began. */
export function originName (topic: string): string {
  return `origin:${topic}`
}

export interface OriginDocument { _id: string, operationTime: Timestamp }

export interface LeaseDocument { _id: string, owner: string, expiresAt: Date, epoch: number, position?: Document }

export type Lease = ReturnType<typeof createLease>

/** @param owner unique for each process */
export function createLease ({ collection, name, owner }: { collection: Collection<LeaseDocument>, name: string, owner: string }) {
  /** One round trip. `position` is stored with the lease for whoever wants to see how far the leader is. */
  async function claim (position?: Document): Promise<boolean> {
    const mine = { $eq: ['$owner', owner] }
    const held = await within(ANSWER_MS_MAX, 'MongoDB\'s answer', collection.findOneAndUpdate(
      { _id: name, $expr: { $or: [mine, { $lte: ['$expiresAt', '$$NOW'] }] } },
      [{
        $set: {
          epoch: { $cond: [mine, '$epoch', { $add: ['$epoch', 1] }] },
          owner,
          expiresAt: { $add: ['$$NOW', LEASE_MS] },
          ...(position === undefined ? {} : { position: { $literal: position } })
        }
      }],
      { projection: { _id: 1 } }))
    return held !== null
  }

  /** One that was never held is free from its first mention on. */
  async function ensure (): Promise<void> {
    const orElse = (field: string, value: unknown): Document => ({ $ifNull: [field, value] })
    await within(ANSWER_MS_MAX, 'MongoDB\'s answer', collection.updateOne(
      { _id: name },
      [{ $set: { owner: orElse('$owner', ''), expiresAt: orElse('$expiresAt', '$$NOW'), epoch: orElse('$epoch', 0) } }],
      { upsert: true }))
  }

  return {
    /** Waits until the lease is ours or `signal` aborts. @returns until when it is ours (performance.now()), undefined if aborted */
    async acquire (signal: AbortSignal): Promise<number | undefined> {
      await ensure()
      while (!signal.aborted) {
        const start = performance.now()
        if (await claim()) return start + LEASE_MS
        await delay(POLL_MS, undefined, { signal }).catch(() => {})
      }
      return undefined
    },

    /** Renews from time to time until `signal` aborts or the lease is lost; resolves then. */
    async hold (until: number, signal: AbortSignal, position: () => Document | undefined): Promise<void> {
      while (!signal.aborted) {
        await delay(Math.min(RENEW_MS, Math.max(0, until - performance.now())), undefined, { signal }).catch(() => {})
        if (signal.aborted || performance.now() >= until) return
        const start = performance.now()
        // A renewal that fails is tried again at the next turn, as long as the lease lasts.
        const renewed = await claim(position()).catch(() => undefined)
        if (renewed === false) return
        if (renewed === true) until = start + LEASE_MS
      }
    },

    /** How far the last leader was, as of its last renewal. */
    async position (): Promise<Document | undefined> {
      return (await collection.findOne({ _id: name }, deadline(ANSWER_MS_MAX)))?.position
    },

    /** Gives it back, so that a successor need not wait for its end. */
    async release (position?: Document): Promise<void> {
      await within(ANSWER_MS_MAX, 'MongoDB\'s answer', collection.updateOne(
        { _id: name, owner },
        [{ $set: { owner: '', expiresAt: '$$NOW', ...(position === undefined ? {} : { position: { $literal: position } }) } }])).catch(() => {})
    }
  }
}
