import { audit } from './audit-run.ts'
import { runTool } from './tool.ts'

const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())

process.exitCode = await runTool(audit, {
  args: process.argv.slice(2),
  dotenv: true,
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  signal: ending.signal
})
