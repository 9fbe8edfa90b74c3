/*
 * `node scripts/run.js FILE ARG…` brings dist/ up to date, where TypeScript is there to do it, and runs the file in
 * this same process, which signals reach directly. In one step, as not every package manager runs `pre` scripts. Any
 * Node can read this file, so that one that is too old gets a message.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const [file, ...args] = process.argv.slice(2)
const [major, minor] = process.versions.node.split('.').map(Number)

if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Node ${process.versions.node} is too old: use Node 20.19 or later`)
}
const packages = createRequire(import.meta.url)
if (!has('fastify')) fail('the packages are not installed: run `npm ci`')
if (has('typescript') && isWritable(root)) build()
else if (!existsSync(root + file)) {
  fail(
    `${file} is not there, and can't be built without the development packages in a folder that can be written: run \`npm ci --include=dev && npm run build\``
  )
}

process.argv.splice(1, process.argv.length, root + file, ...args)
await import(pathToFileURL(root + file).href)

function has (name) {
  try {
    return packages.resolve(name) !== undefined
  } catch {
    return false
  }
}

function isWritable (folder) {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function build () {
  const { status, signal } = spawnSync(process.execPath, [packages.resolve('typescript/bin/tsc')], {
    cwd: root,
    stdio: ['ignore', 2, 2]
  })
  if (signal !== null) process.kill(process.pid, signal)
  if (status !== 0) process.exit(1)
}

function fail (line) {
  process.stderr.write(`${line}\n`)
  process.exit(1)
}
