/*
 * `npm run dev`: the service with local parts, built and started again after each change. The parts stay up, so a
 * restart takes a second.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { startLocalParts, type PartName } from './index.ts'

const WANTED = { mongo: 'MONGO_URL', redis: 'REDIS_URL', kafka: 'KAFKA_BROKERS' }
const parts = (Object.keys(WANTED) as PartName[]).filter((part) => !process.env[WANTED[part]])
const local = await startLocalParts({ dir: process.env.LOCAL_DIR || '.local', parts })
for (const { part, reason } of local.missing) console.error(`${part}: ${reason}`)
const urls = Object.fromEntries(parts.map((part) => [WANTED[part], local.urls[part] ?? 'off']))

const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')
const children = [
  start([compiler, '--watch', '--preserveWatchOutput']),
  start(['--watch', '--watch-preserve-output', '--enable-source-maps', 'dist/src/index.js'])
]

function start (args: string[]): ChildProcess {
  return spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...urls } })
}

let ending = false
async function end (): Promise<void> {
  if (ending) return
  ending = true
  for (const child of children) child.kill('SIGTERM')
  await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
  await local.stop()
  process.exit()
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
