import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import t from 'tap'
import { parse } from 'yaml'
import packageJson from '../../package.json' with { type: 'json' }
import { SettingsSchema } from '../../schemas/settings.ts'
import { post, startService } from '../helper.ts'

interface ComposeService {
  image?: string
  build?: string
  environment?: Record<string, string | number>
  ports?: string[]
  volumes?: string[]
  tmpfs?: string[]
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  restart?: string
  stop_grace_period?: string
  read_only?: boolean
  cap_drop?: string[]
  security_opt?: string[]
}
interface Compose { services: Record<string, ComposeService>, volumes: Record<string, null> }
interface Rules { groups: { rules: { alert: string, expr: string, annotations: Record<string, string> }[] }[] }
interface PrometheusConfig {
  rule_files: string[]
  scrape_configs: { job_name: string, static_configs: { targets: string[] }[] }[]
}

const root = join(import.meta.dirname, '..', '..')
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const compose: Compose = parse(read('compose.yaml'))
const prometheus: PrometheusConfig = parse(read('deploy/prometheus.yml'))
const { groups }: Rules = parse(read('deploy/alerts.yml'))
const service = compose.services['order-service']!
const settings = SettingsSchema.properties
const PARTS = ['MONGO_URL', 'REDIS_URL', 'KAFKA_BROKERS']
const EXACT = /^[\w./-]+:v?\d+\.\d+\.\d+(-[\w.-]+)?$|@sha256:[0-9a-f]{64}$/

/** Instruction and arguments; continued lines are joined, comments are gone. */
const dockerfile = read('Dockerfile').replace(/^#.*\n/gm, '').replace(/\\\n\s*/g, '').split('\n').filter(Boolean)
  .map((line) => ({ instruction: line.split(' ', 1)[0]!, args: line.split(/\s+/).slice(1), line }))
const instructions = (name: string) => dockerfile.filter(({ instruction }) => instruction === name)
const finalStage = dockerfile.slice(dockerfile.findLastIndex(({ instruction }) => instruction === 'FROM'))
const stages = instructions('FROM').flatMap(({ args: [image, as, name] }) =>
  as === 'AS' ? [{ image: image!, name: name! }] : [{ image: image!, name: '' }]
)
const baseImages = stages.map(({ image }) => image).filter((image) => !stages.some(({ name }) => name === image))

/** What .dockerignore keeps out: the last pattern that fits a path or a folder above it decides. */
const ignored = (path: string): boolean => {
  const patterns = read('.dockerignore').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const top = path.split('/')[0]
  const deciding = patterns.findLast((pattern) => ['*', path, top].includes(pattern.replace(/^!/, '')))
  return deciding !== undefined && !deciding.startsWith('!')
}

t.test('.env.example has every setting with its description and default, in the order of the schema', async (t) => {
  const expected = Object.entries(settings).map(
    ([name, { description, default: value }]) => `# ${description}\n${name}=${value}\n`
  )
  t.equal(read('.env.example'), expected.join('\n'))
})

t.test('what compose.yaml sets for the service is a setting, and valid', async (t) => {
  const environment = Object.entries(service.environment!)
  t.ok(environment.length > 0)
  for (const [name, value] of environment) {
    const schema = settings[name as keyof typeof settings]
    t.ok(schema, `${name} is a setting`)
    if (value === `\${${name}:-}`) continue // from `.env`; empty is not set
    t.ok(Value.Check(schema, Value.Convert(schema, String(value))), `${name} is valid`)
  }
  for (const name of PARTS) t.notMatch(service.environment![name], /\$|^$/, `${name} is that of the part beside it`)
})

t.test('`.env` reaches the service in compose.yaml, but for what that file decides', async (t) => {
  const decided = [
    'HOST',
    'PORT',
    'METRICS_PORT',
    ...PARTS,
    'KAFKA_TLS',
    'KAFKA_SASL',
    'KAFKA_USER',
    'KAFKA_PASSWORD',
    'NODE_ENV',
    'LOCAL_DIR'
  ]
  t.strictSame([...new Set([...Object.keys(service.environment!), ...decided])].sort(), Object.keys(settings).sort())
})

t.test('what the service connects to in compose.yaml is there, and healthy before it starts', async (t) => {
  const { MONGO_URL, REDIS_URL, KAFKA_BROKERS } = service.environment as Record<string, string>
  const mongoUrl = new URL(MONGO_URL!)
  const kafka = compose.services.kafka!.environment!
  t.strictSame(
    [mongoUrl.hostname, new URL(REDIS_URL!).hostname, KAFKA_BROKERS!.split(':')[0]],
    ['mongo', 'redis', 'kafka']
  )
  t.equal(kafka.KAFKA_ADVERTISED_LISTENERS, `PLAINTEXT://${KAFKA_BROKERS},HOST://localhost:9094`)
  t.match(compose.services.mongo!.healthcheck!.test.at(-1), `_id: '${mongoUrl.searchParams.get('replicaSet')}'`)
  for (const name of ['mongo', 'redis', 'kafka']) {
    t.equal(service.depends_on![name]?.condition, 'service_healthy')
    t.ok(compose.services[name]!.healthcheck, `${name} says when it is healthy`)
  }
  for (const [name, { depends_on: needed = {} }] of Object.entries(compose.services)) {
    for (const other of Object.keys(needed)) t.ok(compose.services[other], `${name} waits for ${other}, which exists`)
  }
})

t.test('Kafka makes no topics by itself, and one node is enough for it', async (t) => {
  const kafka = compose.services.kafka!.environment!
  t.equal(kafka.KAFKA_AUTO_CREATE_TOPICS_ENABLE, 'false')
  for (const name of [
    'OFFSETS_TOPIC_REPLICATION_FACTOR',
    'TRANSACTION_STATE_LOG_REPLICATION_FACTOR',
    'TRANSACTION_STATE_LOG_MIN_ISR',
    'SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR',
    'SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR'
  ]) {
    t.equal(kafka[`KAFKA_${name}`], 1, name)
  }
})

t.test("ports agree everywhere, and only the service's can be reached from other machines", async (t) => {
  const { PORT: { default: port }, METRICS_PORT: { default: metricsPort } } = settings
  t.strictSame(instructions('EXPOSE').flatMap(({ args }) => args), [String(port), String(metricsPort)])
  t.strictSame(service.ports, [
    `\${PORT:-${port}}:${port}`,
    `127.0.0.1:\${METRICS_PORT:-${metricsPort}}:${metricsPort}`
  ])
  t.match(instructions('HEALTHCHECK')[0]!.line, `METRICS_PORT || ${metricsPort})`)
  t.strictSame(
    prometheus.scrape_configs.flatMap(({ static_configs: configs }) => configs.flatMap(({ targets }) => targets)),
    [`order-service:${metricsPort}`]
  )
  const published = Object.values(compose.services).flatMap(({ ports = [] }) => ports)
  t.strictSame(published.filter((mapping) => !mapping.startsWith('127.0.0.1:')), [service.ports![0]])
})

t.test("the service has no rights that it doesn't need, and time to end", async (t) => {
  t.match(service, { read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'], tmpfs: ['/tmp'] })
  t.ok(
    Number.parseInt(service.stop_grace_period!) * 1000 > settings.CLOSE_DELAY_MS.default,
    'SIGKILL comes after its own deadline'
  )
  const user = finalStage.find(({ instruction }) => instruction === 'USER')
  t.match(user?.args[0], /^[1-9]\d*(:[1-9]\d*)?$/, "a number other than root's")
  for (const [name, { restart }] of Object.entries(compose.services)) {
    t.equal(restart, 'unless-stopped', `${name} comes back`)
  }
})

t.test('volumes are declared, and files mounted from the repository exist', async (t) => {
  for (const [name, { volumes = [] }] of Object.entries(compose.services)) {
    for (const [source] of volumes.map((volume) => volume.split(':'))) {
      t.ok(
        source!.startsWith('.') ? existsSync(join(root, source!)) : source! in compose.volumes,
        `${source} of ${name}`
      )
    }
  }
  for (const file of prometheus.rule_files) {
    t.ok(
      compose.services.prometheus!.volumes!.some((volume) => volume.includes(`:/etc/prometheus/${file}:`)),
      `${file} is mounted`
    )
  }
})

t.test('images are pinned', async (t) => {
  const images = [...baseImages, ...Object.values(compose.services).flatMap(({ image = [] }) => image)]
  for (const image of images) t.match(image, EXACT)
  for (const [name, { image, build }] of Object.entries(compose.services)) t.ok(image ?? build, `${name} has an image`)
})

t.test("the image's Node is one that package.json asks for, and the same everywhere", async (t) => {
  const [version, ...others] = new Set(
    baseImages
      .map((image) => /^node:(\d+)\.(\d+)\./.exec(image)?.slice(1).map(Number))
      .map((numbers) => numbers?.join('.'))
  )
  t.strictSame(others, [])
  const [major, minor] = version!.split('.').map(Number)
  const [majorMin, minorMin] = /^>=(\d+)\.(\d+)$/.exec(packageJson.engines.node)!.slice(1).map(Number)
  t.ok(major! > majorMin! || (major === majorMin && minor! >= minorMin!), `${version} is ${packageJson.engines.node}`)
  t.equal(major! % 2, 0, 'a release with long-term support')
})

t.test('what the Dockerfile copies exists and may be copied', async (t) => {
  for (const { args, line } of instructions('COPY')) {
    const from = args.find((arg) => arg.startsWith('--from='))?.slice('--from='.length)
    if (from !== undefined) {
      t.ok(stages.some(({ name }) => name === from), line)
      continue
    }
    for (const source of args.slice(0, -1)) {
      t.ok(existsSync(join(root, source)), `${source} exists`)
      t.notOk(ignored(source), `${source} is not ignored`)
    }
  }
  const { include } = JSON.parse(read('tsconfig.json')) as { include: string[] }
  const copied = instructions('COPY').flatMap(({ args }) => args.slice(0, -1))
  // What the service runs without: tsc passes over folders that aren't there.
  const left = ['bench', 'examples']
  for (const folder of include) {
    t.equal(
      copied.includes(folder),
      !left.includes(folder),
      `${folder} is ${left.includes(folder) ? 'left out' : 'copied, as it is compiled'}`
    )
  }
})

t.test('neither secrets nor what is made on this machine gets near the image', async (t) => {
  for (const path of ['node_modules', 'dist', '.git', '.local', '.env', 'test', 'bench']) t.ok(ignored(path), path)
})

t.test('the image runs what `npm start` runs, without npm', async (t) => {
  const command = JSON.parse(
    finalStage.find(({ instruction }) => instruction === 'CMD')!.line.slice('CMD '.length)
  ) as string[]
  t.equal(command.join(' '), packageJson.scripts.start.replace('scripts/run.js ', ''))
  t.ok(finalStage.some(({ line }) => line === 'ENV NODE_ENV=production'))
})

t.test('the health check of the image tells ready from unready', async (t) => {
  const { operations, operationsUrl, api } = await startService(t)
  const [command, ...args] = JSON.parse(/CMD (\[.*\])/.exec(instructions('HEALTHCHECK')[0]!.line)![1]!) as [
    string,
    ...string[]
  ]
  const { port } = new URL(operationsUrl)
  t.equal(await exitCodeOf(command, args, { METRICS_PORT: port }), 0)
  api.closing = true
  t.equal(await exitCodeOf(command, args, { METRICS_PORT: port }), 1, 'it answers, but is closing')
  await operations.close()
  t.equal(await exitCodeOf(command, args, { METRICS_PORT: port }), 1, "it doesn't answer")
})

t.test('alerts are about metrics and labels that a running service exposes', async (t) => {
  const running = await startService(t)
  await post(running.url)
  const exposed = await (await fetch(`${running.operationsUrl}/metrics`)).text()
  const rules = groups.flatMap((group) => group.rules)
  t.ok(rules.length > 0)
  for (const { alert, expr, annotations } of rules) {
    t.ok(annotations.summary && annotations.description, `${alert} says what it means and what to do`)
    for (const { metric, labels } of metricsIn(expr)) {
      if (metric === 'up') continue // Prometheus's own
      const series = exposed
        .split('\n')
        .filter((line) => line.startsWith(`${metric} `) || line.startsWith(`${metric}{`))
      t.ok(series.length > 0, `${alert}: ${metric}`)
      for (const label of labels) {
        t.ok(
          series.some((line) => line.includes(`{${label}="`) || line.includes(`,${label}="`)),
          `${alert}: ${label} of ${metric}`
        )
      }
    }
  }
  const jobs = prometheus.scrape_configs.map(({ job_name: name }) => name)
  for (const [, job] of rules.flatMap(({ expr }) => [...expr.matchAll(/job="([^"]*)"/g)])) {
    t.ok(jobs.includes(job!), `${job} is scraped`)
  }
})

async function exitCodeOf (command: string, args: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const [code] = await once(spawn(command, args, { env: { PATH: process.env.PATH, ...env }, stdio: 'ignore' }), 'exit')
  return code
}

/**
 * The metrics of a PromQL expression, each with the labels that it is selected by: names that are neither functions nor
 * words of the language.
 */
function metricsIn (expr: string): { metric: string, labels: string[] }[] {
  const bare = expr
    .replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, '')
    .replace(/\[[^\]]*\]/g, '')
  return [...bare.matchAll(/\b([a-z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?/g)]
    .filter(([, name]) => !['and', 'or', 'unless', 'bool', 'offset'].includes(name!))
    .map(([, metric, matchers = '']) => ({ metric: metric!, labels: labelsOf(matchers) }))
}

function labelsOf (matchers: string): string[] {
  // Prometheus itself adds these two to whatever it scrapes.
  return [...matchers.matchAll(/(\w+)\s*[!=]~?=?\s*"[^"]*"/g)]
    .map(([, label]) => label!)
    .filter((label) => !['job', 'instance'].includes(label))
}
