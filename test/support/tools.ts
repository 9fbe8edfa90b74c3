import { spawn } from 'node:child_process'
import { Kafka, logLevel } from 'kafkajs'
import type { Test } from 'tap'
import type { Settings } from '../../schemas/settings.ts'
import { runTool, type Tool } from '../../tools/tool.ts'
import { newFolder } from './forked-service.ts'
import { parts, settingsFor } from '../helper.ts'

/** A tool run in this process, with the settings of a namespace's service. */
export async function run<Options> (
  tool: Tool<Options>,
  namespace: string,
  args: string[],
  settings: Partial<Settings> = {},
  signal?: AbortSignal
) {
  let [out, err] = ['', '']
  const code = await runTool(tool, {
    args,
    settings: { ...settingsFor(namespace), ...settings },
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    ...(signal === undefined ? {} : { signal })
  })
  return { code, out, err }
}

/** A built tool as a process of its own, with nothing in its environment but the settings. */
export async function fork (t: Test, name: 'audit' | 'replay', args: string[], settings: Partial<Settings>) {
  const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, String(value)]))
  const child = spawn(process.execPath, [`${process.cwd()}/dist/tools/${name}.js`, ...args], {
    cwd: newFolder(t),
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const output = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { output.out += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { output.err += text })
  const code = await new Promise<number | null>((resolve) => { child.once('close', resolve) })
  return { code, ...output }
}

export const kafka = new Kafka({
  brokers: parts.kafkaBrokers.split(','),
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 20 }
})
