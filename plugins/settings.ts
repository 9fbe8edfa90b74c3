import env from '@fastify/env'
import fp from 'fastify-plugin'
import { MongoClient } from 'mongodb'
import { StartupError } from '../src/errors.ts'
import { SettingsSchema, type Settings } from '../schemas/settings.ts'

declare module 'fastify' {
  interface FastifyInstance { settings: Settings }
}

export interface SettingsOptions {
  /** Read `.env` too; what the environment says goes before it. */
  dotenv?: boolean
  /** Goes before both. */
  settings?: Partial<Settings>
}

interface SchemaError { instancePath: string, keyword: string, message?: string }

/** The environment, checked against one schema. A wrong setting names itself and says what would be right. */
export default fp<SettingsOptions>(async (app, { dotenv = false, settings = {} }) => {
  try {
    await app.register(env, { confKey: 'settings', schema: { ...SettingsSchema }, dotenv, data: settings })
  } catch (error) {
    throw new StartupError(explain((error as { errors?: SchemaError[] }).errors, error as Error))
  }
  app.log.level = app.settings.LOG_LEVEL
  checkUrls(app.settings)
  const { NODE_ENV, MONGO_URL, REDIS_URL, KAFKA_BROKERS } = app.settings
  const empty = Object.entries({ MONGO_URL, REDIS_URL, KAFKA_BROKERS }).filter(([, value]) => value === '').map(([name]) => name)
  if (app.settings.KAFKA_SASL !== 'off' && (app.settings.KAFKA_USER === '' || app.settings.KAFKA_PASSWORD === '')) {
    throw new StartupError('KAFKA_USER and KAFKA_PASSWORD must be set when KAFKA_SASL is not off')
  }
  if (NODE_ENV === 'production' && empty.length > 0) {
    throw new StartupError(`${empty.join(', ')} must be set when NODE_ENV is production, as local parts are for development only`)
  }
}, { name: 'settings' })

/** What no pattern can tell. It is found out here, before any part is started or connected to. */
const URL_CHECKS = {
  MONGO_URL: (url: string) => new MongoClient(url), // it connects nowhere by itself
  REDIS_URL: (url: string) => new URL(url),
  KAFKA_BROKERS: (brokers: string) => brokers.split(/[\s,]+/).map((broker) => new URL(`kafka://${broker}`))
}

function checkUrls (settings: Settings): void {
  for (const [name, check] of Object.entries(URL_CHECKS)) {
    const value = settings[name as keyof typeof URL_CHECKS]
    try {
      if (value !== '' && value !== 'off') check(value)
    } catch (cause) {
      throw new StartupError(`${name} can't be used: ${(cause as Error).message} (${SettingsSchema.properties[name as keyof typeof URL_CHECKS].description})`, { cause })
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
    const why = ['minimum', 'maximum', 'type', 'minLength'].includes(keyword) ? `${message} (${schema.description})` : `must be: ${schema.description}`
    wrong.set(name, `${name} ${why}`)
  }
  return wrong.size === 0 ? error.message : [...wrong.values()].join('; ')
}
