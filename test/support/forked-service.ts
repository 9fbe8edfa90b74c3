import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Test } from 'tap'

const ENTRY = resolve('dist', 'src', 'index.js')

/** A folder for one test, gone after it. */
export function newFolder (t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'order-service-test-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/**
 * The built service as a process of its own, with nothing in its environment but `env`.
 * It is killed when the test ends.
 */
export function forkService (t: Test, env: NodeJS.ProcessEnv, cwd = newFolder(t)) {
  const { PATH, HOME, XDG_CACHE_HOME } = process.env
  const child = spawn(process.execPath, [ENTRY], {
    cwd,
    env: { PATH, HOME, XDG_CACHE_HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  const ended = new Promise<{ code: number | null, signal: NodeJS.Signals | null, stdout: string, stderr: string }>(
    (resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve({ code, signal, ...output }))
    }
  )
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return { child, cwd, output, ended }
}

/** Runs a service that can't start, to its end. */
export async function failingStart (t: Test, env: NodeJS.ProcessEnv, cwd?: string) {
  const { ended, cwd: folder } = forkService(t, env, cwd)
  const { code, stdout, stderr } = await ended
  const lines = stderr.split('\n')
  t.ok(code !== null && code !== 0, `exit code ${code}`)
  t.equal(lines.length, 2, `one line on stderr: ${stderr}`)
  t.equal(lines[1], '', 'with its end')
  t.equal(stdout, '', 'nothing on stdout')
  return { line: lines[0]!, cwd: folder }
}
