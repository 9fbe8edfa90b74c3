/**
 * `node dist/local/with-parts.js CMD ARGS…` runs a command beside real, empty MongoDB, Redis and Kafka, and ends with
 * its exit code.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { startLocalParts } from './index.ts'

const [command, ...args] = process.argv.slice(2)
if (!command) {
  console.error('Usage: node dist/local/with-parts.js COMMAND [ARGUMENT…]')
  process.exit(2)
}

try {
  process.exitCode = await runWithParts(command, args)
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
}

async function runWithParts (command: string, args: string[]): Promise<number> {
  const local = await startLocalParts({ dir: join('.local', 'test'), fresh: true })
  try {
    if (local.missing.length > 0) {
      throw new Error(
        `${command} was not run: it needs ${local.missing.map(({ part }) => part).join(' and ')} too (reasons above)`
      )
    }
    return await run(command, args, {
      LOCAL_MONGO_URL: local.urls.mongo,
      LOCAL_REDIS_URL: local.urls.redis,
      LOCAL_KAFKA_BROKERS: local.urls.kafka,
    })
  } finally {
    // Nobody reads this data again, so there is no need to wait for an orderly end.
    await Promise.all(Object.values(local.parts).map((part) => part.kill()))
    await local.stop()
  }
}

function run (command: string, args: string[], urls: NodeJS.ProcessEnv): Promise<number> {
  const ours = resolve('node_modules', '.bin', command) // not by the PATH, of which a folder with a colon in its name can't be a part
  const child = spawn(existsSync(ours) ? ours : command, args, { stdio: 'inherit', env: { ...process.env, ...urls } })
  process.on('SIGTERM', () => child.kill('SIGTERM'))
  // These two a terminal sends to the command as well; a second one would make many a command skip its cleaning up.
  for (const signal of ['SIGINT', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (!process.stdin.isTTY) child.kill(signal)
    })
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]))
  })
}
