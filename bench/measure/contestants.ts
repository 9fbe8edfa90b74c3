import { join } from 'node:path'

/** Who is measured, and how each is started. */
export interface Contestant {
  name: string
  title: string
  /** A ceiling answers a constant order and touches no part. */
  kind: 'service' | 'peer' | 'ceiling'
  command: string[]
  settings?: Record<string, string>
  /** What a client may rely on. */
  promises: string
}

export const GO_BINARY = '.local/bench/go-orders'

const node = (file: string): string[] => [process.execPath, '--enable-source-maps', `dist/${file}`]
const PEER_PROMISES =
  'a 201 is stored and published; an order whose process died between the insert and the send is stored and never published'

export const SERVICE: Contestant = {
  name: 'service',
  title: 'this service',
  kind: 'service',
  command: node('src/index.js'),
  promises:
    'a 201 is stored, and published exactly once whatever dies when; strict validation, idempotency keys, metrics'
}

/** The service of another checkout, which was built there. */
export const serviceBefore = (checkout: string): Contestant => ({
  ...SERVICE,
  name: 'before',
  title: 'an earlier state of this service',
  command: [process.execPath, '--enable-source-maps', join(checkout, 'dist/src/index.js')]
})

/** The service with other settings. */
export const serviceWith = (settings: Record<string, string>): Contestant => ({
  ...SERVICE,
  name: 'with',
  title: `the same with ${Object.entries(settings).map((pair) => pair.join('=')).join(', ')}`,
  settings
})

export const CONTESTANTS: Contestant[] = [
  SERVICE,
  {
    name: 'go',
    title: 'Go: net/http, mongo-driver, go-redis, franz-go',
    kind: 'peer',
    command: [GO_BINARY],
    promises: `${PEER_PROMISES}; idempotent producer; no metrics`
  },
  {
    name: 'fastify',
    title: 'plain Fastify: mongodb, ioredis, kafkajs',
    kind: 'peer',
    command: node('bench/peers/plain-fastify.js'),
    promises: `${PEER_PROMISES}, a retried send may publish twice; no metrics`
  },
  {
    name: 'express',
    title: 'Express: Mongoose, ioredis, kafkajs, prom-client',
    kind: 'peer',
    command: node('bench/peers/express.js'),
    promises: `${PEER_PROMISES}, a retried send may publish twice; metrics`
  },
  {
    name: 'constant-metrics',
    title: 'ceiling: Fastify, constant order, fastify-metrics',
    kind: 'ceiling',
    command: node('bench/peers/constant-fastify.js'),
    settings: { METRICS: 'on' },
    promises: 'none'
  },
  {
    name: 'constant-fastify',
    title: 'ceiling: Fastify, constant order',
    kind: 'ceiling',
    command: node('bench/peers/constant-fastify.js'),
    promises: 'none'
  },
  {
    name: 'constant-http',
    title: 'ceiling: node:http, constant order',
    kind: 'ceiling',
    command: node('bench/peers/constant-http.js'),
    promises: 'none'
  }
]
