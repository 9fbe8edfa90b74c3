import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { startService } from '../helper.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '..', '..')
const TSC = join(root, 'node_modules', 'typescript', 'bin', 'tsc')

const WRONG = `
// @ts-expect-error a quantity is a number
const wrong: NewOrder = { userId: 'user-1', products: [{ _id: 'product-1', quantity: '2' }] }
await orders.create(wrong).catch((error) => console.log(problemOf(error)?.errors[0]?.pointer))
// @ts-expect-error there is no such parameter
orders.pages({ page: 2 })
`

t.test('the generated types are those of openapi.json (npm run openapi writes them)', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'order-service-types-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await execute(process.execPath, [
    join(root, 'node_modules', '@hey-api', 'openapi-ts', 'bin', 'run.js'),
    '-f', join(root, 'client', 'openapi-ts.config.js'), '-o', folder
  ], { cwd: root })
  const committed = await readFile(join(root, 'client', 'src', 'generated', 'types.gen.ts'), 'utf8')
  t.equal(await readFile(join(folder, 'types.gen.ts'), 'utf8'), committed)
})

t.test('packed, it is used from another project, with its types', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'order-service-client-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const client = join(folder, 'client')
  const project = await mkdtemp(join(tmpdir(), 'order-service-project-'))
  t.teardown(() => rm(project, { recursive: true, force: true }))
  await cp(join(root, 'client'), client, { recursive: true, filter: (source) => !source.endsWith('dist') })
  await cp(join(root, 'tsconfig.json'), join(folder, 'tsconfig.json'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  await execute(process.execPath, [TSC, '-p', client])
  const npm = async (args: string[], cwd: string) =>
    await execute('npm', [...args, '--no-audit', '--no-fund', '--prefer-offline'], { cwd })
  const { stdout: packed } = await npm(['pack', '--json'], client)
  const [{ filename, files }] = JSON.parse(packed)
  t.strictSame(
    files.map(({ path }: { path: string }) => path).sort(),
    [
      'README.md',
      ...['generated/index', 'generated/types.gen', 'index', 'listen'].flatMap((name) => [`dist/${name}.d.ts`, `dist/${name}.js`]),
      'package.json'
    ]
  )

  await cp(join(client, filename), join(project, filename))
  await writeFile(join(project, 'package.json'), JSON.stringify({ type: 'module', private: true }))
  const example = await readFile(join(root, 'client', 'example.ts'), 'utf8')
  await writeFile(join(project, 'program.ts'), example + WRONG)
  await npm(['install', `./${filename}`], project)
  const typeRoots = [join(root, 'node_modules', '@types')]
  const compilerOptions = { strict: true, module: 'nodenext', target: 'es2023', types: ['node'], typeRoots }
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions }))
  await execute(process.execPath, [TSC, '-p', project]).catch(({ stdout }) => { throw new Error(stdout) })
  const service = await startService(t, { KAFKA_BROKERS: 'off', REDIS_URL: 'off' })
  const { stdout } = await execute(process.execPath, [join(project, 'program.js')], {
    env: { ...process.env, ORDERS_URL: service.url }
  })
  t.match(stdout, /^created ([0-9a-f]{24})\nyoungest \1\nfound \1 undefined\n\/products\/0\/quantity\n$/)
})
