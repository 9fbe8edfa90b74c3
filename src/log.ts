import type { Logger as PinoLogger } from 'pino'

/** What the domain needs of a logger: part of pino's shape, be it the service's own or a subscriber's. */
export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error'>
