import { getHeapStatistics } from 'node:v8'
import underPressure, { TYPE_EVENT_LOOP_DELAY } from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { Overloaded } from '../src/errors.ts'

const SAMPLE_MS = 1_000
/** Above it V8 does little but collect garbage, and then the process ends. */
const HEAP_SHARE_MAX = 0.9

/**
 * The last resort, for what no count of orders or lists can know: it refuses every request of the API for a second at a time.
 * RSS is no measure, as it hardly sinks again: who was once above a limit would refuse for ever.
 */
export default fp(async (app) => {
  await app.register(underPressure, {
    sampleInterval: SAMPLE_MS,
    maxEventLoopDelay: app.settings.EVENT_LOOP_DELAY_MS_MAX,
    maxHeapUsedBytes: HEAP_SHARE_MAX * getHeapStatistics().heap_size_limit,
    pressureHandler: async (_request, _reply, type) => { // its rejection goes to the error handler; what it threw by itself would not
      app.observe.shed(type === TYPE_EVENT_LOOP_DELAY ? 'event-loop' : 'heap')
      throw new Overloaded()
    }
  })
}, { name: 'pressure', dependencies: ['settings', 'metrics'] })
