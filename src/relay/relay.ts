import type { ClusterTime } from '../mongo/change-event.ts'
import { isLostHistory } from '../mongo/change-stream.ts'
import { relayNames, type Checkpoint } from './checkpoint/checkpoint.ts'
import { MESSAGE_BYTES_MAX } from '../events/packing.ts'
import { explainKafka, isTooLarge } from '../kafka/reasons.ts'
import { publishHeld } from './held/publishing.ts'
import { follow, type FollowOptions } from './follow.ts'
import { begin, type StartOptions } from './start.ts'
import { reconcile, type ReconciliationObserver, type ReconciliationOptions } from './reconciliation/reconcile.ts'
import { createLeadership } from './leadership.ts'
import { createThrottle } from '../runtime/throttle.ts'

/*
 * Publishes every order to Kafka, exactly once. The oplog is the outbox: the leader follows the change stream of the
 * orders and commits the events of a batch and the resume token that follows them in one Kafka transaction. So whatever
 * dies, and when: either both are there or neither, and the next leader goes on right after the last event.
 *
 * A leadership begins in src/relay/start.ts and goes on in src/relay/follow.ts. Where the change stream can't go on at
 * the last checkpoint, or there is none, src/relay/reconciliation/reconcile.ts makes a new one.
 */

const COMPLAIN_MS = 60_000
const TRANSACTION_MS = 15_000
/**
 * A transaction that was too slow for its deadline gets twice the time, and so on. The time-out that Kafka gets is
 * twice as long.
 */
const TRANSACTION_MS_MAX = 60_000
/** Nobody sets max.message.bytes lower. Below this another fault is more likely, and no events are set aside for it. */
const BYTES_MAX_LEAST = 65_536

export interface RelayObserver extends ReconciliationObserver {
  leader: (leads: boolean) => void
  /** A leadership began, so many seconds after the lease was taken. */
  started: (seconds: number) => void
  /** A committed transaction. */
  published: (events: number, seconds: number) => void
  /** Orders that are held back, as their events are larger than the topic takes. */
  oversized: (orders: number) => void
}

export interface RelayOptions
  extends
  StartOptions,
  Pick<ReconciliationOptions, 'unknowable' | 'idsMax'>,
  Pick<FollowOptions, 'idleCheckpointMs' | 'lookMs'> {
  /** A name for the orders of this MongoDB, drawn once and kept with them. */
  source: string
  /** Puts the origin and the source back, if somebody has dropped the database. */
  keepOrigin: () => Promise<unknown>
  observe: RelayObserver
}

export type Relay = ReturnType<typeof createRelay>

export function createRelay (options: RelayOptions) {
  const { db, topic, lease, source, keepOrigin, log, observe } = options
  const names = relayNames(topic.topic, db.databaseName, source)
  /** The last checkpoint that this leadership knows to be committed. */
  let position: Checkpoint | undefined
  let leads = false
  let progressed = false
  /** The checkpoint at which MongoDB could not go on. */
  let lost: Checkpoint | undefined
  const news = createThrottle(COMPLAIN_MS)
  /** All that was inserted before this time of the cluster is published. */
  let drained: ClusterTime | undefined
  /** Of a topic whose limit this user may not ask for. */
  let bytesMax: number | undefined
  const leadership = createLeadership({
    lease,
    lead,
    holding: () => ({ position, leads, drained }),
    ended,
    explain: (error) =>
      explainKafka(error, { ...names, topic: topic.topic, replicationFactor: topic.replicationFactor }),
    log
  })

  function ended (): boolean {
    const got = progressed
    position = undefined
    drained = undefined
    progressed = false
    return got
  }

  async function lead (signal: AbortSignal, failures: number): Promise<void> {
    const began = performance.now()
    await keepOrigin() // before Kafka is asked: while that is away, the process may end
    const { publisher, producer, place, limits } = await begin(options, names, {
      isNews: news.allows,
      lost,
      bytesMax,
      msMax: Math.min(TRANSACTION_MS * 2 ** failures, TRANSACTION_MS_MAX),
      onOversized: observe.oversized,
      onCommit (checkpoint, events, seconds) {
        position = checkpoint
        progressed ||= leads
        observe.published(events, seconds)
      }
    })
    let start: Checkpoint | undefined
    try {
      // A comparison must be found necessary again until it has ended: only then is what others wrote taken for our
      // own.
      await lease.begin(place.compare === undefined ? place.seq : undefined)
      if (place.exact && place.seq > 0) position = { ...place.from, seq: place.seq, topic: place.identity }
      start = place.compare === undefined ? place.from : await compare(place)
      if (start === undefined || signal.aborted) return
      if (place.compare !== undefined) await lease.begin(publisher.seq)
      start = await publishHeld({ ...options, topic: topic.topic, publisher, start, signal })
      await follow({
        ...options,
        topic: topic.topic,
        publisher,
        start,
        limits,
        careful: failures > 0,
        signal,
        onLead () {
          setLeads(true)
          observe.started((performance.now() - began) / 1000)
        },
        onDrained: (time) => { drained = time }
      })
    } catch (error) {
      if (isTooLarge(error as Error)) {
        bytesMax = Math.max(BYTES_MAX_LEAST, Math.floor((limits.maxMessageBytes ?? bytesMax ?? MESSAGE_BYTES_MAX) / 2))
      }
      if (!isLostHistory(error)) throw error
      lost = start
      throw new Error(
        `MongoDB's oplog does not hold the relay's checkpoint of ${start?.at} any more, so the orders are compared with the topic: if the oplog was too small for an outage, make it larger (${(error as Error).message})`,
        { cause: error }
      )
    } finally {
      setLeads(false)
      observe.unknowable(0) // whoever leads says how many there are
      observe.oversized(0)
      await producer.close()
    }

    /** @returns the checkpoint at the end of the comparison, undefined if that was called off */
    async function compare ({ from, exact, compare: reason, identity }: typeof place): Promise<Checkpoint | undefined> {
      log[news.allows('compares') ? 'warn' : 'debug'](
        { topic: topic.topic, since: from.at, lost: reason },
        "the relay can't go on where it was and compares the orders with the topic"
      )
      return await reconcile({
        ...options,
        topic: topic.topic,
        known: from,
        exact,
        identity,
        commit: publisher.commit,
        signal
      })
    }
  }

  function setLeads (now: boolean): void {
    if (leads === now) return
    leads = now
    observe.leader(now)
  }

  return {
    start: leadership.start,

    /** Finishes the transaction at hand and gives the lease back. */
    stop: leadership.stop,

    get leads (): boolean { return leads },

    get position (): Checkpoint | undefined { return leads ? position : undefined },

    get drained (): ClusterTime | undefined { return leads ? drained : undefined }
  }
}
