import fastifyEnv from '@fastify/env'
import fp from 'fastify-plugin'
import { readDotenv } from '../src/settings/dotenv.ts'
import { StartupError } from '../src/errors.ts'
import { checkBrokers, checkHttpUrl, checkMongoUrl, checkRedisUrl } from '../src/settings/urls.ts'
import { SettingsSchema, type Settings } from '../schemas/settings.ts'

declare module 'fastify' {
  interface FastifyInstance { settings: Settings }
}

export interface SettingsOptions {
  /** Read `.env`, or the file of this name. */
  dotenv?: boolean | string
  /** Goes before `.env`. */
  env?: NodeJS.ProcessEnv
  /** Goes before both, as it is. */
  settings?: Partial<Settings>
}

/** What of a setting's schema says what its text stands for. */
interface Typed { type?: string, anyOf?: { const: string }[] }
interface SchemaError { instancePath: string, keyword: string, message?: string }

const NAMES = Object.keys(SettingsSchema.properties)

/** The environment, checked against one schema. A wrong setting names itself and says what would be right. */
export default fp<SettingsOptions>(async (app, { dotenv = false, env = {}, settings = {} }) => {
  const file = dotenv === false ? undefined : readDotenv(dotenv === true ? '.env' : dotenv, NAMES)
  const data = Object.entries({ ...given(file?.values ?? {}), ...given(env), ...settings })
    .map(([name, value]) => [name, typed(name, value)])
  try {
    // By itself it would read `.env` and environment without trimming, and take 0x10 for 16.
    await app.register(fastifyEnv, {
      confKey: 'settings',
      schema: { ...SettingsSchema },
      env: false,
      data: Object.fromEntries(data),
      ajv: { customOptions: (ajv) => Object.assign(ajv, { opts: { ...ajv.opts, coerceTypes: false } }) }
    })
  } catch (error) {
    throw new StartupError(explain((error as { errors?: SchemaError[] }).errors, error as Error))
  }
  app.log.level = app.settings.LOG_LEVEL
  checkUrls(app.settings)
  const { MONGO_URL, REDIS_URL, KAFKA_BROKERS } = app.settings
  const empty = Object.entries({ MONGO_URL, REDIS_URL, KAFKA_BROKERS })
    .filter(([, value]) => value === '')
    .map(([name]) => name)
  if (app.settings.KAFKA_SASL !== 'off' && (app.settings.KAFKA_USER === '' || app.settings.KAFKA_PASSWORD === '')) {
    throw new StartupError('KAFKA_USER and KAFKA_PASSWORD must be set when KAFKA_SASL is not off')
  }
  if (isProduction(app.settings) && empty.length > 0) {
    throw new StartupError(
      `${empty.join(', ')} must be set when NODE_ENV is production, as local parts are for development only`
    )
  }
  for (const warning of file?.warnings ?? []) app.log.warn(warning)
}, { name: 'settings' })

export function isProduction ({ NODE_ENV }: Settings): boolean {
  return /^prod(uction)?$/i.test(NODE_ENV)
}

/** Control characters, of which URLs lose some without a word, and what web pages add to what is copied from them. */
const UNSEEN = /[\p{Cc}\u200b\u2060\ufeff]/u

/**
 * Secrets in files end with a newline, and what was pasted has blanks around it: nobody means them, also not in a
 * password. An empty variable is what a Compose file's `${PORT}` leaves, so it is one that isn't set.
 */
function given (values: NodeJS.ProcessEnv): Record<string, string> {
  const trimmed = NAMES.map((name) => [name, values[name]?.trim() ?? ''] as const)
  for (const [name, value] of trimmed) {
    if (!UNSEEN.test(name === 'KAFKA_BROKERS' ? value.replaceAll(/\s/g, '') : value)) continue
    throw new StartupError(`${name} must not hold a tab, a newline or another character that can't be seen`)
  }
  return Object.fromEntries(trimmed.filter(([, value]) => value !== ''))
}

/** Numbers are decimal digits and nothing else; words may be in any case, as Kafka's own are in capitals. */
function typed (name: string, value: unknown): unknown {
  const schema: Typed | undefined = SettingsSchema.properties[name as keyof Settings]
  if (typeof value !== 'string') return value
  if (schema?.type === 'integer') return /^-?\d{1,15}$/.test(value) ? Number(value) : value
  return schema?.anyOf?.find((word) => word.const === value.toLowerCase())?.const ?? value
}

const URL_CHECKS = {
  MONGO_URL: checkMongoUrl,
  REDIS_URL: checkRedisUrl,
  KAFKA_BROKERS: checkBrokers,
  GATEWAY_URL: checkHttpUrl
}

function checkUrls (settings: Settings): void {
  for (const [name, check] of Object.entries(URL_CHECKS)) {
    const value = settings[name as keyof typeof URL_CHECKS]
    try {
      if (value !== '' && value !== 'off') check(value)
    } catch (cause) {
      throw new StartupError(
        `${name} can't be used: ${(cause as Error).message} (${SettingsSchema.properties[name as keyof typeof URL_CHECKS].description})`,
        { cause }
      )
    }
  }
}

/** The value itself is not shown: a URL can hold a password. */
function explain (errors: SchemaError[] = [], error: Error): string {
  const wrong = new Map<string, string>()
  for (const { instancePath, keyword, message } of errors) {
    const name = instancePath.slice(1) as keyof typeof SettingsSchema.properties
    const schema = SettingsSchema.properties[name]
    if (schema === undefined || wrong.has(name)) continue
    const why = ['minimum', 'maximum', 'type', 'minLength'].includes(keyword)
      ? `${message} (${schema.description})`
      : `must be: ${schema.description}`
    wrong.set(name, `${name} ${why}`)
  }
  return wrong.size === 0 ? error.message : [...wrong.values()].join('; ')
}
