import underPressure, { TYPE_EVENT_LOOP_DELAY } from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { Overloaded } from '../src/errors.ts'
import { garbageCollector, oldGenerationMax, oldGenerationUsed } from '../src/runtime/heap.ts'

const SAMPLE_MS = 1_000
/** From here on the cache of orders has to go: what is served is worth more. */
const CLEAR_SHARE = 0.8
/** Above it V8 does little but collect garbage, and then the process ends. */
const REFUSE_SHARE = 0.9
/** A whole collection takes some 100 ms. */
const COLLECT_MS = 10_000

/**
 * The last resort, for what no count of orders or lists can know: it refuses every request of the API for a second at a
 * time. RSS is no measure, as it hardly sinks again: a process that was once above a limit would refuse for ever.
 */
export default fp(async (app) => {
  const collect = garbageCollector()
  let collectedAt = -Infinity

  async function hasMemory (): Promise<boolean> {
    if (oldGenerationUsed() < CLEAR_SHARE * oldGenerationMax) return true
    app.reads?.clearCache()
    if (performance.now() - collectedAt > COLLECT_MS) {
      // V8 collects when something is allocated, which a service that refuses everything hardly does.
      collectedAt = performance.now()
      collect({ type: 'major' })
    }
    return oldGenerationUsed() < REFUSE_SHARE * oldGenerationMax
  }

  await app.register(underPressure, {
    sampleInterval: SAMPLE_MS,
    maxEventLoopDelay: app.settings.EVENT_LOOP_DELAY_MS_MAX,
    healthCheck: hasMemory,
    healthCheckInterval: SAMPLE_MS,
    // A rejection goes to the error handler; what it threw synchronously would not.
    pressureHandler: async (_request, _reply, type) => {
      app.observe.shed(type === TYPE_EVENT_LOOP_DELAY ? 'event-loop' : 'heap')
      throw new Overloaded()
    }
  })
}, { name: 'pressure', dependencies: ['settings', 'metrics'] })
