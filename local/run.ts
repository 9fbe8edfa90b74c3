import { spawn } from 'node:child_process'
import { killAtExit } from './processes.ts'

export type Env = Record<string, string | undefined>

interface RunOptions {
  env: Env
  limitMs: number
  cwd?: string
  onLine?: (line: string) => void
}

/** Enough of a tool's output to find the line that says what went wrong. */
const OUTPUT_CHARS_MAX = 20_000

/**
 * Runs a tool to its end and resolves to what it printed (stdout and stderr, the last 20,000 characters). Rejects when
 * it can't be started, fails or takes longer than `limitMs`; the message ends with the line that looks most like the
 * cause.
 */
export function run (file: string, args: string[], { env, limitMs, cwd, onLine }: RunOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    const forget = killAtExit(child)
    const limit = setTimeout(() => child.kill('SIGKILL'), limitMs)
    let output = ''
    const take = (chunk: string) => {
      output = (output + chunk).slice(-OUTPUT_CHARS_MAX)
      const line = chunk.trimEnd().split(/[\r\n]/).at(-1)?.trim()
      if (line) onLine?.(line)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stderr.setEncoding('utf8').on('data', take)
    child.once('error', (error) => {
      clearTimeout(limit)
      forget()
      reject('code' in error && error.code === 'ENOENT' ? new Error(`${file}: not found`) : error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(limit)
      forget()
      if (code === 0) resolve(output)
      else if (signal === 'SIGKILL') reject(new Error(`${file}: killed, or not done within ${limitMs / 1000} s`))
      else reject(new Error(`${file} failed (${code ?? signal}): ${tellingLine(output)}`))
    })
  })
}

const LINE_CHARS_MAX = 300
const ERROR_LEVELS = /\b(ERROR|FATAL)\b|"s":"[EF]"/
const CAUSES = /error|fatal|exception|fail|cannot|can't|no such|not found/i

/**
 * The first line that its writer marked as an error (the rest follow from it), otherwise the last one that sounds like
 * a cause, otherwise the last.
 */
export function tellingLine (log: string): string {
  const lines = log.split(/[\r\n]+/).map((line) => line.trim()).filter(Boolean)
  const line =
    lines.find((line) => ERROR_LEVELS.test(line)) ??
    lines.findLast((line) => CAUSES.test(line)) ??
    lines.at(-1) ??
    'no output'
  return line.slice(0, LINE_CHARS_MAX)
}
