import type { Kafka } from 'kafkajs'
import { followTopic } from '../kafka/topic-follower.ts'
import { within } from '../runtime/deadline.ts'
import type { Logger } from '../runtime/logger.ts'
import { createHistory, type History } from './history.ts'
import { createRecentEvents, type RecentEvents } from './recent-events.ts'

const START_MS_MAX = 5_000
const FAILING_MS_MAX = 1_500

export interface Following {
  recent: RecentEvents
  history: History
  stop: () => Promise<void>
}

/**
 * Begins to read the topic.
 * @throws what Kafka refuses, or an error after 5 s
 */
export async function startFollowing ({ kafka, topic, log, metadataMs, recentBytesMax, onFetched, onEnd }: {
  kafka: Kafka
  topic: string
  log: Logger
  metadataMs: number | undefined
  recentBytesMax: number
  /** There are new events. It goes on after it. */
  onFetched: (recent: RecentEvents) => Promise<void>
  /** It has come to an end by itself: the places that are known are of another topic, or gone. */
  onEnd: (error: Error) => void
}): Promise<Following> {
  const stopping = new AbortController()
  const history = createHistory(kafka, topic)
  const began = performance.now()
  let fails = false
  let recent: RecentEvents | undefined
  let ended: Promise<void> = Promise.resolve()
  const started = new Promise<RecentEvents>((resolve, reject) => {
    ended = followTopic({
      kafka,
      topic,
      signal: stopping.signal,
      metadataMs,
      onStart (offsets) {
        recent = createRecentEvents(offsets, recentBytesMax)
        resolve(recent)
      },
      async onFetched (fetched) {
        if (fails) log.info({ topic }, 'the live feed goes on')
        fails = false
        recent!.add(fetched)
        await onFetched(recent!)
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
    await ended
  }

  try {
    return { recent: await within(START_MS_MAX, "Kafka's answer", started), history, stop }
  } catch (error) {
    stop()
    throw error
  }
}
