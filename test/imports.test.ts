import t from 'tap'
import { readdirSync, readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'

/** A limit that makes a file split in two before it has two subjects. */
const LINES_MAX = 220

interface Import { from: string, to: string, dynamic: boolean }

const filesOf = (folder: string): string[] => readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => join(folder, name))
const service = ['src', 'plugins', 'routes', 'schemas', 'tools'].flatMap(filesOf)
const textOf = (file: string): string => readFileSync(file, 'utf8')
/** Without comments: they may name what code must not use. */
const codeOf = (file: string): string => textOf(file).replaceAll(/\/\*[^]*?\*\/|(?<=^|\s)\/\/.*$/gm, '')

function importsOf (from: string): Import[] {
  const found = codeOf(from).matchAll(/(?:\bfrom|^import|(?<dynamic>\bimport\())\s*'(?<specifier>[^']+)'/gm)
  return [...found].map(({ groups }) => {
    const specifier = groups!.specifier!
    return { from, to: specifier.startsWith('.') ? join(from, '..', specifier) : specifier, dynamic: groups!.dynamic !== undefined }
  })
}

/** The rooms in the order in which they may know each other: each only itself and those before it. */
const ROOMS = ['schemas', 'domain', 'plugins', 'tools', 'routes', 'app', 'index'] as const

function roomOf (file: string): typeof ROOMS[number] {
  if (['src/app.ts', 'src/primary.ts', 'src/listen.ts'].includes(file)) return 'app'
  if (['src/index.ts', 'src/worker.ts', 'src/accept-helper.ts'].includes(file)) return 'index'
  if (file.startsWith('src/')) return 'domain'
  return file.split('/')[0] as 'schemas' | 'plugins' | 'tools' | 'routes'
}

const imports = service.flatMap(importsOf)
const isOurs = ({ to }: Import): boolean => service.includes(to)
const show = ({ from, to }: Import): string => `${from} -> ${to}`

t.test('imports go one way: schemas <- src (domain) <- plugins <- routes <- src/app <- src/index', async (t) => {
  t.ok(imports.filter(isOurs).length > 50, 'there are imports to look at')
  const backwards = imports.filter(isOurs).filter(({ from, to }) => ROOMS.indexOf(roomOf(to)) > ROOMS.indexOf(roomOf(from)))
  t.strictSame(backwards.map(show), [])
  const elsewhere = imports.filter((each) => !isOurs(each) && /^[^@\w]|^(?:local|test|bench|dist)\//.test(each.to) && each.to !== 'package.json')
  t.strictSame(elsewhere.map(show), ['plugins/local-parts.ts -> local/index.ts'], 'and nothing outside is imported but the local parts')
})

t.test('the tools use the service, and nothing of the service knows of them', async (t) => {
  t.ok(imports.some((each) => isOurs(each) && each.from.startsWith('tools/') && !each.to.startsWith('tools/')))
  t.strictSame(imports.filter(({ from, to }) => to.startsWith('tools/') && !from.startsWith('tools/')).map(show), [])
})

t.test('no files import each other in a circle', async (t) => {
  const done = new Set<string>()
  const visit = (file: string, path: string[]): void => {
    if (path.includes(file)) t.fail([...path, file].join(' -> '))
    else if (!done.has(file)) for (const { to } of imports.filter((each) => each.from === file && isOurs(each))) visit(to, [...path, file])
    done.add(file)
  }
  for (const file of service) visit(file, [])
})

t.test('the local parts are loaded only when they are needed, and know nothing of the service', async (t) => {
  t.ok(imports.every(({ to, dynamic }) => !to.startsWith('local/') || dynamic))
  t.strictSame(filesOf('local').flatMap(importsOf).filter(isOurs).map(show), [])
})

t.test('the domain and the schemas know nothing of Fastify', async (t) => {
  const allowed = ['@fastify/error'] // which is a catalogue of errors and needs no Fastify
  const wrong = imports.filter(({ from, to }) => ['domain', 'schemas'].includes(roomOf(from)) && /fastify/.test(to) && !allowed.includes(to))
  t.strictSame(wrong.map(show), [])
})

t.test('one process alone loads nothing of node:cluster', async (t) => {
  const loads = (file: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(file)) return seen
    seen.add(file)
    for (const { to } of imports.filter(({ from, dynamic }) => from === file && !dynamic)) loads(to, seen)
    return seen
  }
  t.notOk([...loads('src/index.ts')].includes('node:cluster'))
  t.ok([...loads('src/primary.ts')].includes('node:cluster'))
})

// To read who one is, pid or version, changes nothing.
t.test('only the entries, of service, worker and tools, touch the process', async (t) => {
  const touching = service.filter((file) => /(?<!\.)\bprocess\.(?!pid\b|version\b)|node:process/.test(codeOf(file)))
  t.strictSame(touching, ['src/accept-helper.ts', 'src/index.ts', 'src/worker.ts', 'tools/audit.ts', 'tools/replay.ts'])
})

t.test(`no file has more than ${LINES_MAX} lines`, async (t) => {
  t.strictSame(service.filter((file) => textOf(file).split('\n').length - 1 > LINES_MAX), [])
})

const packageJson = JSON.parse(readFileSync('package.json', 'utf8'))
const packageOf = (specifier: string): string => specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
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
