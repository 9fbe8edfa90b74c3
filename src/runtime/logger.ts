import { stdSerializers, type Logger as PinoLogger, type LoggerOptions } from 'pino'
import { withoutSecrets } from '../settings/secrets.ts'

/** What the domain needs of a logger: part of pino's shape, be it the service's own or a subscriber's. */
export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error'>

/** Of an error's own fields only these are logged: others hold commands (ioredis) and documents (MongoDB's driver). */
const FIELDS = ['code', 'codeName', 'statusCode', 'syscall', 'address', 'port', 'broker', 'topic'] as const

/** What no line may hold is kept out of all of them here: errors go by these names. */
export const logOptions = {
  serializers: { err: describe, error: masked, reason: masked },
  hooks: {
    // pino takes an error's message for that of a line without one.
    logMethod (args, method) {
      const error = (args[0] as { err?: unknown } | undefined)?.err ?? args[0]
      if (args.length === 1 && error instanceof Error) args.push(withoutSecrets(error.message))
      method.apply(this, args)
    }
  }
} satisfies LoggerOptions

function masked (text: unknown): unknown {
  return typeof text === 'string' ? withoutSecrets(text) : text
}

function describe (error: Error): { type: string, message: string, stack: string, [field: string]: unknown } {
  if (!(error instanceof Error)) return { type: typeof error, message: withoutSecrets(String(error)), stack: '' }
  const { type, message, stack } = stdSerializers.err(error)
  const { errors } = error as AggregateError
  return {
    type,
    message: withoutSecrets(message),
    stack: withoutSecrets(stack),
    ...Object.fromEntries(FIELDS.flatMap((name) => name in error ? [[name, (error as never)[name]]] : [])),
    ...(Array.isArray(errors) ? { errors: errors.map((each: Error) => withoutSecrets(String(each))) } : {})
  }
}
