import { Gauge, Registry } from 'prom-client'
import type { Readiness } from '../../schemas/readiness.ts'
import { SERVICE_READY } from './readiness.ts'

/** How a service describes itself: one process, or several workers together. */
export interface Operations {
  /** In Prometheus' text format. */
  metrics (): Promise<string>
  readiness (): Promise<Readiness>
}

/** How a service that is still starting describes itself: it may wait for MongoDB for as long as that takes. */
export const starting: Operations = {
  async metrics () {
    const register = new Registry()
    new Gauge({ ...SERVICE_READY, registers: [register] }).set(0)
    return await register.metrics()
  },
  readiness: async () => ({ status: 'unready', closing: false, mongodb: false, redis: false, relay: 'off' })
}
