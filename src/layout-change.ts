import { setTimeout as delay } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import type { Collection, Db, Timestamp } from 'mongodb'
import { orAborted } from './deadline.ts'
import { handOver, type ShardEnd } from './handover.ts'
import { openOrderEventsProducer, type OrderEventsProducer } from './kafka.ts'
import { copyLayout, layoutIn, layoutMessage, layoutOr, leftMessage, sealMessage, type Layout, type LayoutDocument } from './layout.ts'
import { freeMs, layoutLeaseName, leaseName, type Lease, type LeaseDocument } from './lease.ts'
import type { Logger } from './log.ts'
import { checkpointIn, readRecords } from './relay-records.ts'
import { checkpointGone, checkpointMessage, fenceMarker, layoutNames, relayNames, type Checkpoint, type RelayNames, type TopicSettings } from './relay-topics.ts'
import { shardsOf, WHOLE, type Shard } from './shards.ts'
import { identifyTopic } from './topic-identity.ts'

/*
 * Changes the number of shards, and why no order is published twice or never by that, whoever else is alive, of whatever setting:
 *
 * 1. Only the holder of the layout's transactional.id writes layouts and new checkpoints, and only one that began with the layout
 *    that is there: opening the producer fences everybody before, and what they committed by then is read up to a marker.
 * 2. "The shards are being taken over" is committed as layout. A relay reads the layout behind its own fence, so none that starts
 *    from here on publishes. (It looks at the layout only when it finds no checkpoint of its own without a seal behind it, but
 *    it finds that seal, or the change has yet to fence it.)
 * 3. Each old shard's transactional.id is fenced by a transaction with a seal. So nobody who started before can commit any more:
 *    neither one that is paused, nor one that doesn't know. And what they had open is aborted in all partitions, which go to others.
 * 4. Now the old checkpoints, read up to the last seal, are final. One transaction writes the new layout, the new checkpoints and
 *    the end of the old ones; before it MongoDB gets copies, for the case that Kafka loses all of them.
 *
 * Whoever dies in between leaves the layout of step 2 behind, and nobody publishes until somebody has begun anew with step 1.
 * Leases, here as elsewhere, only keep these steps from being disturbed.
 */

/** Longer than a relay waits between two tries, so that one whose Kafka is away is not taken for dead. */
const GIVEN_UP_MS = 10_000
const POLL_MS = 1_000
/** The copy of a layout is kept before it is committed, beyond the layout that the change begins with. So it is older than that of whoever begins again. */
const COPIED_AHEAD = 2
const SEALED_AT_ONCE = 8

export interface LayoutOptions {
  db: Db
  kafka: Kafka
  topic: TopicSettings
  /** How many there should be. */
  shards: number
  leases: Collection<LeaseDocument>
  leaseOf: (name: string) => Lease
  origin: Timestamp
  log: Logger
  /** A change waits until no relay of the present layout has held a lease for so long. */
  givenUpMs?: number
}

export type LayoutKeeper = ReturnType<typeof createLayoutKeeper>

export function createLayoutKeeper ({ db, kafka, topic: { topic }, shards, leases: documents, leaseOf, origin, log, givenUpMs = GIVEN_UP_MS }: LayoutOptions) {
  const names = layoutNames(topic, db.databaseName)
  const copies = documents as unknown as Collection<LayoutDocument>
  const lease = leaseOf(layoutLeaseName(topic))
  let settling: Promise<void> | undefined

  async function run (found: Layout, signal: AbortSignal): Promise<void> {
    if (found.shards !== shards && !await givenUp(found, signal)) return
    const until = await lease.acquire(signal)
    if (until === undefined) return
    const over = new AbortController()
    const held = lease.hold(until, AbortSignal.any([over.signal, signal]), () => undefined)
    try {
      await begin(found)
    } finally {
      over.abort()
      await held
      await lease.release()
    }
  }

  /** @returns whether it is time to change; if not, the layout is another one by now */
  async function givenUp ({ shards: old, generation }: Layout, signal: AbortSignal): Promise<boolean> {
    const leases = shardsOf(old).map((shard) => leaseName(topic, shard))
    for (let told = false; !signal.aborted; told = true) {
      if (await freeMs(documents, leases) >= givenUpMs) return true
      if ((await layoutOr(undefined, copies, topic)).generation > generation) return false
      if (!told) log.warn({ topic, shards, publishing: old }, `the relay waits: others publish this topic with RELAY_SHARDS=${old}, this process has RELAY_SHARDS=${shards} and takes over ${givenUpMs / 1000} s after they have ended`)
      await delay(POLL_MS, undefined, { signal }).catch(() => {})
    }
    return false
  }

  async function begin (found: Layout): Promise<void> {
    const marker = fenceMarker(names)
    const producer = await openOrderEventsProducer({ kafka, ...names, topic, partitions: 1, marker }) // it sends no events
    try {
      const now = await layoutOr(layoutIn(await readRecords(kafka, names, marker), topic, names), copies, topic)
      if (now.generation !== found.generation) return // look again
      if (now.shards !== shards) await change(producer, now)
      else if (now.changingTo !== undefined) await keep(producer, now)
    } finally {
      await producer.close()
    }
  }

  async function change (producer: OrderEventsProducer, now: Layout): Promise<void> {
    const old = shardsOf(now.shards)
    const leases = old.map((shard) => leaseOf(leaseName(topic, shard)))
    const over = new AbortController()
    const held: Promise<void>[] = []
    try {
      // Who has them starts no term. One of a release before this one would not see a seal.
      for (const lease of leases) {
        const until = await lease.take()
        if (until === undefined) return
        held.push(lease.hold(until, over.signal, () => undefined))
      }
      await producer.publish([], layoutMessage(names, { ...now, generation: now.generation + 1, changingTo: shards }))
      const checkpoint = handOver(await endsOf(producer, old, now.first === true), Date.now())
      const next = { shards, generation: now.generation + COPIED_AHEAD }
      for (const shard of shardsOf(shards)) await leaseOf(leaseName(topic, shard)).leave(checkpoint)
      await copyLayout(copies, topic, next) // last: who goes by the copies must not find one of a shard from an earlier time of this number
      await producer.publish([], layoutMessage(names, next),
        ...shardsOf(shards).map((shard) => checkpointMessage(namesOf(shard), checkpoint)),
        ...old.map((shard) => leftMessage(namesOf(shard))))
      log.info({ topic, shards, before: now.shards, compares: checkpoint.reconciling !== undefined }, 'the relay has another number of shards')
    } finally {
      over.abort()
      await Promise.all(held)
      await Promise.all(leases.map((lease) => lease.release()))
    }
  }

  /** Seals the shards, so that nobody can publish with them any more. @returns where they ended */
  async function endsOf (producer: OrderEventsProducer, old: Shard[], mayBeFirst: boolean): Promise<ShardEnd[]> {
    for (let start = 0; start < old.length; start += SEALED_AT_ONCE) {
      await Promise.all(old.slice(start, start + SEALED_AT_ONCE).map(async (shard) => {
        const sealer = await openOrderEventsProducer({ kafka, ...namesOf(shard), topic, partitions: 1, marker: sealMessage(namesOf(shard)) })
        await sealer.close()
      }))
    }
    const marker = fenceMarker(names)
    await producer.publish([], marker)
    const records = await readRecords(kafka, names, marker)
    return await Promise.all(old.map(async (shard) => {
      const committed = checkpointIn(records, namesOf(shard))
      if (committed !== undefined) return { checkpoint: committed, exact: true }
      const copied = await leaseOf(leaseName(topic, shard)).position() as Checkpoint | undefined
      if (copied !== undefined) return { checkpoint: copied, exact: false }
      if (mayBeFirst) return { checkpoint: await beginning(), exact: true }
      throw checkpointGone(namesOf(shard))
    }))
  }

  /** Somebody else began to change the layout, which is what it should be, and died. */
  async function keep (producer: OrderEventsProducer, now: Layout): Promise<void> {
    const next = { shards, generation: now.generation + COPIED_AHEAD }
    const marker = fenceMarker(names)
    await producer.publish([], marker)
    const isNew = now.first === true && checkpointIn(await readRecords(kafka, names, marker), namesOf(WHOLE)) === undefined &&
      await leaseOf(leaseName(topic)).position() === undefined
    await copyLayout(copies, topic, next)
    await producer.publish([], layoutMessage(names, next), ...isNew ? [checkpointMessage(namesOf(WHOLE), await beginning())] : [])
  }

  /** Where nothing was published yet. */
  async function beginning (): Promise<Checkpoint> {
    return {
      operationTime: { t: origin.getHighBits(), i: origin.getLowBits() },
      at: new Date(0).toISOString(),
      topic: await identifyTopic(kafka, topic, undefined, true)
    }
  }

  function namesOf (shard: Shard): RelayNames {
    return relayNames(topic, db.databaseName, shard)
  }

  return {
    current: (found: Layout | undefined): Promise<Layout> => layoutOr(found, copies, topic),

    /** Waits until the layout is another one than was found, or changes it. Who called must look again. One of a process does it for all. */
    async settle (found: Layout, signal: AbortSignal): Promise<void> {
      settling ??= run(found, signal).finally(() => { settling = undefined })
      await orAborted(settling, signal)
    }
  }
}
