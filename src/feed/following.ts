import type { Kafka } from 'kafkajs'
import { followTopic } from '../kafka/topic-follower.ts'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import type { Throttle } from '../runtime/throttle.ts'
import { createHistory, type History } from './history.ts'
import { createRecentEvents, type RecentEvents } from './recent-events.ts'

const START_MS_MAX = 5_000
const FAILING_MS_MAX = 1_500

export interface Following {
  /** Rejects with what Kafka refuses, or after 5 s; reading has ended by then. */
  recent: Promise<RecentEvents>
  history: History
  stop: () => Promise<void>
}

/** Begins to read the topic. */
export function startFollowing ({ kafka, topic, log, complaints, metadataMs, recentBytesMax, onFetched, onEnd }: {
  kafka: Kafka
  topic: string
  log: Logger
  complaints: Throttle
  metadataMs: number | undefined
  recentBytesMax: number
  /** There are new events. It goes on after it. */
  onFetched: (recent: RecentEvents) => Promise<void>
  /** It has ended by itself: it could not start, or the known positions are of another topic, or gone. */
  onEnd: (error: Error) => void
}): Following {
  const stopping = new AbortController()
  const history = createHistory(kafka, topic, ({ message: reason }) => {
    if (!complaints.allows('history')) return
    log.warn({ reason }, "the live feed can't read what clients have missed: they wait, and lose nothing")
  })
  const began = performance.now()
  let fails = false
  let recent: RecentEvents | undefined
  let ended: Promise<void> = Promise.resolve()
  const started = new Promise<RecentEvents>((resolve, reject) => {
    stopping.signal.addEventListener('abort', () => reject(new Error('the live feed has stopped reading')))
    ended = followTopic({
      kafka,
      topic,
      signal: stopping.signal,
      metadataMs,
      onStart (offsets) {
        recent = createRecentEvents(offsets, recentBytesMax)
        resolve(recent)
      },
      async onFetched (answer) {
        for (const fetched of answer) recent!.add(fetched)
        await onFetched(recent!)
      },
      onRound () {
        if (fails) log.info({ topic }, 'the live feed goes on')
        fails = false
      },
      onFailure (error) {
        // A topic that is new, or has lost a leader, is there in a moment.
        if (recent === undefined) {
          if (performance.now() - began > FAILING_MS_MAX) reject(error)
          return
        }
        if (!fails) {
          log.warn({ reason: error.message }, "the live feed can't read Kafka: its clients wait, and lose nothing")
        }
        fails = true
      }
    }).catch((error) => {
      log.warn({ reason: error.message }, 'the live feed begins anew: the topic was made anew, or retention was faster')
      history.close()
      onEnd(error)
    })
  })

  async function stop (): Promise<void> {
    stopping.abort()
    history.close()
    // Before it has started it may be waiting for a broker that hangs, and ends by itself later.
    if (recent !== undefined) await ended
  }

  async function start (): Promise<RecentEvents> {
    try {
      return await within(START_MS_MAX, "Kafka's answer", started)
    } catch (error) {
      stop()
      onEnd(error as Error)
      throw error
    }
  }

  return { recent: start(), history, stop }
}
