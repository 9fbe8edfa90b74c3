import t, { type Test } from 'tap'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import type { Settings } from '../../schemas/settings.ts'
import { readSettings } from '../../src/app.ts'
import { readDotenv } from '../../src/settings/dotenv.ts'
import { newFolder } from '../support/forked-service.ts'

async function settingsOf (t: Test, content: string | Buffer, env: NodeJS.ProcessEnv = {}): Promise<Settings> {
  const path = `${newFolder(t)}/.env`
  writeFileSync(path, content)
  return await readSettings({ dotenv: path, env: { LOG_LEVEL: 'silent', ...env } })
}

const VARIABLES = 'a$HOME$' + '{PORT}$$'
const COUNTS: [what: string, content: string, setting: keyof Settings, value: string | number][] = [
  ['a byte order mark', '\uFEFFPORT=1\n', 'PORT', 1],
  ['a byte order mark within, as of files that were joined', 'HOST=a\n\uFEFFPORT=1\n', 'PORT', 1],
  ['CRLF', 'HOST=a\r\nPORT=1\r\n', 'PORT', 1],
  ['a lone CR', 'HOST=a\rPORT=1\r', 'PORT', 1],
  ['a line of blanks', 'A=b\n  \nPORT=1\n', 'PORT', 1],
  ['a line of tabs and no-break spaces', 'A=b\n\t\u00a0\t\nPORT=1\n', 'PORT', 1],
  ['no newline at the end', 'A=b\nPORT=1', 'PORT', 1],
  ['export', 'export PORT=1', 'PORT', 1],
  ['blanks around =', '  PORT = 1\t \u00a0', 'PORT', 1],
  ['a colon, as in YAML', 'PORT: 1', 'PORT', 1],
  ['a comment after the value', 'PORT=1 # the port\n', 'PORT', 1],
  ['a comment instead of a value', 'PORT= # the port\n', 'PORT', 8002],
  ['a # within a value', 'KAFKA_PASSWORD=abc#def', 'KAFKA_PASSWORD', 'abc#def'],
  ['= in a value', 'KAFKA_PASSWORD=abc==', 'KAFKA_PASSWORD', 'abc=='],
  ['double quotes, and a comment', 'KAFKA_PASSWORD="abc # \'def" # it', 'KAFKA_PASSWORD', "abc # 'def"],
  ['single quotes with a backslash', 'KAFKA_PASSWORD=\'a"b\\nc\'', 'KAFKA_PASSWORD', 'a"b\\nc'],
  ['backticks', 'KAFKA_PASSWORD=`a\'"b`', 'KAFKA_PASSWORD', 'a\'"b'],
  ['quotes within a value', 'KAFKA_PASSWORD=it\'s"so', 'KAFKA_PASSWORD', 'it\'s"so'],
  ['variables, which are none', `KAFKA_PASSWORD=${VARIABLES}`, 'KAFKA_PASSWORD', VARIABLES],
  ['a value of several lines of another program', 'KEY="-----BEGIN\nPORT=2\n-----END"\nPORT=1', 'PORT', 1],
  ['a setting twice', 'PORT=2\nPORT=1', 'PORT', 1]
]

t.test('what .env says counts, however editors and shells write it', async (t) => {
  for (const [what, content, setting, value] of COUNTS) t.equal((await settingsOf(t, content))[setting], value, what)
})

const NAMED: [content: string, message: RegExp][] = [
  ['PORT=1\n[section]\nHOST=secret', /^\S+\.env, line 2: this is neither NAME=value nor a comment$/],
  ['PORT=1\r\n\r\nKAFKA_PASSWORD secret', /line 3: this is neither/],
  ['export KAFKA_PASSWORD', /line 1: this is neither/],
  ['; secret', /line 1: this is neither/],
  ['KAFKA_PASSWORD="secret\nPORT=1', /line 1: the quote that KAFKA_PASSWORD begins with is not closed$/],
  ['KAFKA_PASSWORD="secret"more', /line 1: KAFKA_PASSWORD goes on after its closing quote$/],
  ['KAFKA_PASSWORD="secret"#more', /line 1: KAFKA_PASSWORD goes on/],
  ['KAFKA_PASSWORD="sec\\nret"', /line 1: KAFKA_PASSWORD has a \\ in double quotes/],
  ['KAFKA_PASSWORD=#secret', /line 1: KAFKA_PASSWORD begins with a #/]
]

t.test("what can't count is one line that names the line and not what is on it", async (t) => {
  for (const [content, message] of NAMED) {
    const error = await settingsOf(t, content).then(() => undefined, (error) => error)
    t.match(error?.message, message, JSON.stringify(content))
    t.notMatch(error?.message, /secret|\n/)
  }
})

t.test('a file that is no text of settings is named in one line', async (t) => {
  const folder = newFolder(t)
  const refused = (path: string): string => {
    try { return String(readDotenv(path, [])) } catch (error) { return (error as Error).message }
  }
  t.match(readDotenv(`${folder}/nowhere`, []), { values: {} }, 'none is as good as an empty one')
  mkdirSync(`${folder}/folder`)
  t.match(refused(`${folder}/folder`), /folder is a folder, as Docker/)
  symlinkSync(`${folder}/nowhere`, `${folder}/link`)
  t.match(refused(`${folder}/link`), /link is a link to a file that isn't there/)
  t.match(refused(`${folder}/folder/${'x'.repeat(300)}`), /can't be read \(ENAMETOOLONG\)/)
  const contents = {
    utf16: Buffer.from('\uFEFFPORT=1', 'utf16le'),
    utf16bare: Buffer.from('PORT=1', 'utf16le'),
    latin1: Buffer.from('HOST=ü', 'latin1')
  }
  for (const [name, content] of Object.entries(contents)) {
    writeFileSync(`${folder}/${name}`, content)
    t.match(refused(`${folder}/${name}`), /is not UTF-8 text/, name)
  }
  writeFileSync(`${folder}/huge`, Buffer.alloc(1_048_577, '#'))
  t.match(refused(`${folder}/huge`), /huge is larger than 1 MiB/)
})

t.test("a name that is nearly a setting's and a setting given twice are warnings, other names are not", async (t) => {
  const path = `${newFolder(t)}/.env`
  const names = Object.keys((await import('../../schemas/settings.ts')).SettingsSchema.properties)
  const odd = [
    'MONGODB_URI=secret',
    'MONGO_URI=secret',
    'port=1',
    'KAFKA_BROKER=a',
    'KAFKA-TOPIC=a',
    'PORT=a',
    'PORT=2'
  ]
  const others = ['COMPOSE_PROJECT_NAME=a', 'TZ=UTC', 'NODE_OPTIONS=a', 'MONGO_INITDB_ROOT_PASSWORD=a', 'JAVA_HOME=a']
  writeFileSync(path, [...odd, ...others].join('\n'))
  const { values, warnings } = readDotenv(path, names)
  t.strictSame(values, { PORT: '2' })
  t.strictSame(warnings.map((warning) => warning.replace(/^.*\.env, /, '')), [
    'line 1: MONGODB_URI is ignored: the setting is MONGO_URL',
    'line 2: MONGO_URI is ignored: the setting is MONGO_URL',
    'line 3: port is ignored: the setting is PORT',
    'line 4: KAFKA_BROKER is ignored: the setting is KAFKA_BROKERS',
    'line 5: KAFKA-TOPIC is ignored: the setting is KAFKA_TOPIC',
    'line 6: line 7 sets PORT again, and counts'
  ])
})

t.test('the environment goes before .env, but an empty variable is one that is not set', async (t) => {
  const content = 'PORT=1\nMONGO_URL=mongodb://from-file/\nHOST=""'
  const settings = await settingsOf(t, content, { PORT: '2', MONGO_URL: '' })
  t.match(settings, { PORT: 2, MONGO_URL: 'mongodb://from-file/', HOST: '::' })
  t.match(await settingsOf(t, '', { PORT: '', HOST: ' \t', LISTS_MAX: '' }), { PORT: 8002, HOST: '::', LISTS_MAX: 32 })
})

t.test('blanks and newlines around a value are dropped, also around a password, blanks within are not', async (t) => {
  const env = {
    MONGO_URL: ' mongodb://u:p@mongo/\n',
    REDIS_URL: 'redis://redis\r\n',
    KAFKA_BROKERS: '\nkafka:9092 kafka:9093\n',
    KAFKA_PASSWORD: '\u00a0a b\r\n',
    PORT: '80\n'
  }
  t.match(await settingsOf(t, 'KAFKA_USER=" user\n"', env), {
    MONGO_URL: 'mongodb://u:p@mongo/',
    REDIS_URL: 'redis://redis',
    KAFKA_BROKERS: 'kafka:9092 kafka:9093',
    KAFKA_USER: 'user',
    KAFKA_PASSWORD: 'a b',
    PORT: 80
  })
})

t.test("what can't be seen within a value is refused, except between brokers", async (t) => {
  const urls = { MONGO_URL: 'mongodb://u:p\tw@mongo/', REDIS_URL: 'redis://u:p\tw@redis' }
  const odd = { ...urls, KAFKA_PASSWORD: 'secret\nsecret', KAFKA_USER: 'a\u0000', HOST: '\u200b::' }
  for (const [name, value] of Object.entries(odd)) {
    const message = `${name} must not hold a tab, a newline or another character that can't be seen`
    await t.rejects(settingsOf(t, '', { [name]: value }), { message })
  }
  const { KAFKA_BROKERS } = await settingsOf(t, 'KAFKA_BROKERS="kafka:9092\n\tkafka:9093"')
  t.equal(KAFKA_BROKERS, 'kafka:9092\n\tkafka:9093')
})
