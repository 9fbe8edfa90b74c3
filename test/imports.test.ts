import t from 'tap'
import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join } from 'node:path'

/** A limit that makes a file split in two before it has two subjects. */
const LINES_MAX = 250

interface Import { from: string, to: string, dynamic: boolean }

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name))
const service = ['src', 'plugins', 'routes', 'schemas', 'tools'].flatMap(filesOf)
const textOf = (file: string): string => readFileSync(file, 'utf8')
/** Without comments: they may name what code must not use. */
const codeOf = (file: string): string => textOf(file).replaceAll(/\/\*[^]*?\*\/|(?<=^|\s)\/\/.*$/gm, '')

function importsOf (from: string): Import[] {
  const found = codeOf(from).matchAll(/(?:\bfrom|^import|(?<dynamic>\bimport\())\s*'(?<specifier>[^']+)'/gm)
  return [...found].map(({ groups }) => {
    const specifier = groups!.specifier!
    return {
      from,
      to: specifier.startsWith('.') ? join(from, '..', specifier) : specifier,
      dynamic: groups!.dynamic !== undefined
    }
  })
}

/**
 * The rooms in the order in which they may know each other: each only itself and those before it. Of src/ the folders,
 * and of its own files the words that all share.
 */
const ROOMS = [
  'schemas',
  'src/errors',
  'src/traceparent',
  'src/models',
  'src/kafkajs',
  'src/encoding',
  'src/settings',
  'src/runtime',
  'src/process',
  'src/workers',
  'src/mongo',
  'src/kafka',
  'src/events',
  'src/kafka.ts',
  'src/reads',
  'src/orders',
  'src/gateway',
  'src/feed',
  'src/relay/checkpoint',
  'src/relay/reconciliation',
  'src/relay/publishing',
  'src/relay/held',
  'src/relay',
  'plugins',
  'tools',
  'routes',
  'app',
  'entries'
]

/** What one does is no business of the other's: a POST knows nothing of Kafka. */
const STRANGERS = [
  ['src/orders', 'src/gateway'], ['src/reads', 'src/gateway'], ['src/gateway', 'src/mongo'],
  ['src/feed', 'src/mongo'], ['src/feed', 'src/relay'], ['src/feed', 'src/reads'], ['src/feed', 'src/orders'],
  ['src/orders', 'src/reads'], ['src/orders', 'src/relay'], ['src/reads', 'src/relay'],
  ['src/orders', 'src/kafka'], ['src/reads', 'src/kafka'], ['src/mongo', 'src/kafka'], ['src/process', 'src/workers']
] as const

const FILES_MAX = 11

/** What a process runs, of which nothing else knows. */
const ENTRIES = [
  'src/index.ts',
  'src/process/accept-helper.ts',
  'src/process/signals.ts',
  'src/service-process.ts',
  'src/worker-process.ts',
  'src/worker.ts'
]

function roomOf (file: string): string {
  if (['src/app.ts', 'src/primary.ts', 'src/listen.ts'].includes(file)) return 'app'
  if (ENTRIES.includes(file)) return 'entries'
  if (file === 'src/kafka.ts') return file // the face of its room, which only uses the room
  return dirname(file) === 'src' ? file.slice(0, -'.ts'.length) : dirname(file)
}

const imports = service.flatMap(importsOf)
const isOurs = ({ to }: Import): boolean => service.includes(to)
const show = ({ from, to }: Import): string => `${from} -> ${to}`

t.test('imports go one way: schemas <- src, room by room <- plugins <- routes <- src/app <- src/index', async (t) => {
  const arrows = new Map(imports.filter(isOurs).map((each) => [`${roomOf(each.from)} -> ${roomOf(each.to)}`, each]))
  t.comment(
    `${ROOMS.length} rooms, ${[...arrows.values()].filter(({ from, to }) => roomOf(from) !== roomOf(to)).length} arrows between them`
  )
  t.strictSame(service.filter((file) => !ROOMS.includes(roomOf(file))), [], 'each file is in one of them')
  const backwards = imports
    .filter(isOurs)
    .filter(({ from, to }) => ROOMS.indexOf(roomOf(to)) > ROOMS.indexOf(roomOf(from)))
  t.strictSame(backwards.map(show), [])
  const elsewhere = imports.filter(
    (each) => !isOurs(each) && /^[^@\w]|^(?:local|test|bench|dist)\//.test(each.to) && each.to !== 'package.json'
  )
  t.strictSame(
    elsewhere.map(show),
    ['plugins/local-parts.ts -> local/index.ts'],
    'and nothing outside is imported but the local parts'
  )
})

t.test('what has nothing to do with each other does not know each other', async (t) => {
  const among = (file: string, room: string): boolean => file.startsWith(`${room}/`) || file === `${room}.ts`
  for (const [one, other] of STRANGERS) {
    const known = imports.filter(
      ({ from, to }) => (among(from, one) && among(to, other)) || (among(from, other) && among(to, one))
    )
    t.strictSame(known.map(show), [], `${one} and ${other}`)
  }
})

t.test(`a room of src/ has two to ${FILES_MAX} files`, async (t) => {
  const rooms = [...new Set(filesOf('src').map((file) => dirname(file)))].map((room) => ({
    room,
    files: readdirSync(room).filter((name) => name.endsWith('.ts')).length
  }))
  t.strictSame(rooms.filter(({ files }) => files < 2 || files > FILES_MAX), [])
})

t.test('the tools use the service, and nothing of the service knows of them', async (t) => {
  t.ok(imports.some((each) => isOurs(each) && each.from.startsWith('tools/') && !each.to.startsWith('tools/')))
  t.strictSame(imports.filter(({ from, to }) => to.startsWith('tools/') && !from.startsWith('tools/')).map(show), [])
})

t.test('no files import each other in a circle', async (t) => {
  const done = new Set<string>()
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) t.fail([...path, file].join(' -> '))
    else if (!done.has(file)) {
      for (const { to } of imports.filter((each) => each.from === file && isOurs(each))) visit(to, [...path, file])
    }
    done.add(file)
  }
  for (const file of service) visit(file, [])
})

t.test('the local parts are loaded only when they are needed, and know nothing of the service', async (t) => {
  t.ok(imports.every(({ to, dynamic }) => !to.startsWith('local/') || dynamic))
  t.strictSame(
    filesOf('local')
      .flatMap(importsOf)
      .filter(isOurs)
      .filter(({ to }) => !to.startsWith('src/kafkajs/'))
      .map(show),
    [],
    'but for what is mended in kafkajs'
  )
})

t.test('the rooms of src/ and the schemas know nothing of Fastify', async (t) => {
  const allowed = ['@fastify/error'] // which is a catalogue of errors and needs no Fastify
  const wrong = imports.filter(
    ({ from, to }) => /^src\/|schemas/.test(roomOf(from)) && /fastify/.test(to) && !allowed.includes(to)
  )
  t.strictSame(wrong.map(show), [])
})

t.test('one process alone loads nothing of node:cluster', async (t) => {
  const loads = (file: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(file)) return seen
    seen.add(file)
    for (const { to } of imports.filter(({ from, dynamic }) => from === file && !dynamic)) loads(to, seen)
    return seen
  }
  t.notOk([...loads('src/service-process.ts')].includes('node:cluster'))
  t.ok([...loads('src/primary.ts')].includes('node:cluster'))
})

// To read who one is, pid or version, or how Node was started, changes nothing.
t.test('only the entries, of service, worker and tools, touch the process', async (t) => {
  const touching = service.filter((file) => /(?<!\.)\bprocess\.(?!pid\b|version\b|execArgv\b|env\.NODE_OPTIONS\b)|node:process/.test(codeOf(file)))
  t.strictSame(
    touching.sort(),
    [...ENTRIES.filter((file) => touching.includes(file)), 'tools/audit.ts', 'tools/replay.ts'].sort()
  )
})

t.test(`no file has more than ${LINES_MAX} lines`, async (t) => {
  t.strictSame(service.filter((file) => textOf(file).split('\n').length - 1 > LINES_MAX), [])
})

const packageJson = JSON.parse(readFileSync('package.json', 'utf8'))
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
const isPackage = ({ to }: Import): boolean => !isBuiltin(to) && /^[@\w]/.test(to) && !/\.(ts|json)$/.test(to)

t.test('package.json has exactly the dependencies that the service imports, in exact versions', async (t) => {
  const used = new Set(imports.filter(isPackage).map(({ to }) => packageOf(to)))
  t.strictSame(Object.keys(packageJson.dependencies), [...used].sort())
  for (const [name, version] of Object.entries({ ...packageJson.dependencies, ...packageJson.devDependencies })) {
    t.match(version, /^\d+\.\d+\.\d+$/, name)
  }
})

t.test('what only development imports is a development dependency', async (t) => {
  const known = new Set([...Object.keys(packageJson.dependencies), ...Object.keys(packageJson.devDependencies)])
  const others = ['local', 'test'].flatMap(filesOf).flatMap(importsOf).filter(isPackage).map(({ to }) => packageOf(to))
  t.strictSame(others.filter((name) => !known.has(name)), [])
})
