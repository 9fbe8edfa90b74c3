import type { Db } from 'mongodb'
import type { Readiness } from '../../schemas/readiness.ts'
import { deadline } from '../runtime/deadline.ts'

/** The gauge of a process, of several workers together, and of a service that is still starting. */
export const SERVICE_READY = { name: 'service_ready', help: '1 while /readyz says ready' }

const PING_MS_MAX = 1_000

/**
 * What /readyz and the metric `service_ready` mean by ready: requests can be served, which needs MongoDB and nothing
 * else.
 */
export async function readinessOf (service: {
  db: Db
  closing: boolean
}): Promise<{ ready: boolean, mongodb: boolean }> {
  const mongodb = await service.db.command({ ping: 1 }, deadline(PING_MS_MAX)).then(
    () => true,
    () => false
  )
  return { ready: mongodb && !service.closing, mongodb }
}

interface Parts {
  db: Db
  closing: boolean
  redisTier: { usable: boolean } | undefined
  relay: { leads: boolean } | undefined
}

/** Readiness and the state of the parts. Redis and Kafka are reported but not needed. */
export async function describeReadiness (service: Parts): Promise<Readiness> {
  const { ready, mongodb } = await readinessOf(service)
  return {
    status: ready ? 'ready' : 'unready',
    closing: service.closing,
    mongodb,
    redis: service.redisTier?.usable ?? 'off',
    relay: service.relay === undefined ? 'off' : service.relay.leads ? 'leader' : 'follower'
  }
}

/**
 * Readiness of a service of several workers. One that is ready is enough, as new connections go to those that are
 * there: otherwise the death of one worker would take those from the balancer that still serve.
 * @param answers of the workers that serve and answered
 */
export function combineReadiness (answers: Readiness[], expected: number, closing: boolean): Readiness {
  const ready = answers.filter(({ status }) => status === 'ready').length
  const has = (relay: Readiness['relay']): boolean => answers.some((answer) => answer.relay === relay)
  return {
    status: ready > 0 && !closing ? 'ready' : 'unready',
    closing,
    mongodb: answers.some(({ mongodb }) => mongodb),
    redis:
      answers.length > 0 && answers.every(({ redis }) => redis === 'off')
        ? 'off'
        : answers.length > 0 && answers.every(({ redis }) => redis !== false),
    relay: has('leader') ? 'leader' : has('follower') ? 'follower' : 'off',
    workers: { ready, expected }
  }
}
