import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describeOthers, postOrders } from '../clients/client.ts'
import { countByName, groupMembers, partsIn } from '../rig/processes.ts'
import { round, type Bench, type Scenario } from '../check/findings.ts'
import { eventually, launch } from '../rig/service.ts'

const CONNECTIONS = 16
const LOAD_MS = 1_000
/** CLOSE_DELAY_MS, and what MongoDB and Kafka may take to end after it. */
const END_MS_MAX = 20_000

async function run ({ dir, figure, expect }: Bench): Promise<void> {
  mkdirSync(dir, { recursive: true })
  for (const load of [false, true]) {
    // npm and a shell stand between: what node itself exits with, it has to write down.
    const codeFile = join(dir, `exit-code-${load}`)
    const report = `import{writeFileSync}from'node:fs';process.on('exit',(code)=>{if(process.argv[1]?.endsWith('index.js'))writeFileSync(${JSON.stringify(codeFile)},String(code))})`
    const service = launch(
      join(dir, 'parts'),
      { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(report)}` },
      ['sh', '-c', 'npm start'],
      { detached: true }
    )
    await service.ready()
    const before = groupMembers(service.pid).length
    const over = new AbortController()
    const posting = load
      ? postOrders({ url: service.url, connections: CONNECTIONS, count: 50_000, signal: over.signal })
      : undefined
    if (load) await delay(LOAD_MS)

    const start = performance.now()
    process.kill(-service.pid, 'SIGINT') // to the whole foreground group, as the terminal does
    const left = (): number => groupMembers(service.pid).length + partsIn(dir).length
    await eventually('the end of all processes', END_MS_MAX, () => left() === 0).catch(() => {})
    const ms = performance.now() - start
    over.abort()

    const code = readFileSync(codeFile, 'utf8')
    figure(`${load ? 'under load' : 'idle'} all of ${before} + 3 processes ended in ${round(ms)} ms, exit code ${code}`)
    expect(code === '0', `node exits with ${code}: ${service.output.trim()}`)
    expect(
      left() === 0,
      `${groupMembers(service.pid).length} processes of the group and ${countByName(partsIn(dir))} are left`
    )
    if (posting !== undefined) {
      const { created, others } = await posting
      others.delete(0) // those that came too late find nobody there
      figure(`${created.size} × 201 until then`)
      expect(others.size === 0, `answers while closing: ${describeOthers(others)}`)
    }
  }
}

export default { name: 'ctrl-c', title: 'Ctrl-C on npm start', run } satisfies Scenario
