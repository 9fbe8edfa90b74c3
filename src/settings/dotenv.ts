import { lstatSync, readFileSync, statSync } from 'node:fs'
import { StartupError } from '../errors.ts'

/*
 * Strict on purpose: what a line says counts, or the line is named. Node's `util.parseEnv` drops lines after one of
 * blanks, a [section] or a byte order mark without a word (nodejs/node#56686), and dotenv cuts `abc#def`
 * (motdotla/dotenv#601). Lines are named by number; what is on them may be secret.
 */

export interface Dotenv {
  values: Record<string, string>
  /** Each a line that names a line: an overridden setting, or a name that is nearly a setting's. */
  warnings: string[]
}

interface Entry { name: string, value: string, line: number }

const BYTES_MAX = 1_048_576
/** Blanks may be any that editors and web pages leave, as JavaScript's `\s` and `trim` know them. */
const SETTING = /^(?:export\s+)?([\w.-]+)(?:\s*=|:(?=\s|$))(.*)$/s
/** Names of so many letters may differ by more than one of them and still be one that was meant. */
const LONG_LETTERS = 8
const LONG_CHANGES_MAX = 3
/** No setting's name is twice as long. */
const NAME_LETTERS_MAX = 60

/**
 * The file's settings, none when there is no file. Values hold no escapes and no variables: a $ is a $.
 * @param names of the settings; other programs may have theirs in the same file
 * @throws StartupError that names the file or the line
 */
export function readDotenv (path: string, names: string[]): Dotenv {
  const entries = parse(path, readText(path), names)
  const values: Record<string, string> = {}
  const lines = new Map<string, number>()
  const warnings: string[] = []
  for (const { name, value, line } of entries) {
    if (names.includes(name)) {
      const before = lines.get(name)
      if (before !== undefined) warnings.push(`${path}, line ${before}: line ${line} sets ${name} again, and counts`)
      lines.set(name, line)
      values[name] = value
    } else if (name.length <= NAME_LETTERS_MAX) {
      const meant = nearest(name, names)
      if (meant !== undefined) warnings.push(`${path}, line ${line}: ${name} is ignored: the setting is ${meant}`)
    }
  }
  return { values, warnings }
}

function readText (path: string): string {
  let bytes: Buffer
  try {
    const found = statSync(path)
    if (found.isDirectory()) throw new StartupError(`${path} is a folder, as Docker makes for a missing file`)
    if (found.size > BYTES_MAX) throw new StartupError(`${path} is larger than 1 MiB: it can't be a file of settings`)
    bytes = readFileSync(path)
  } catch (cause) {
    if (cause instanceof StartupError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    if (code !== 'ENOENT') throw new StartupError(`${path} can't be read (${code})`, { cause })
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return ''
    throw new StartupError(`${path} is a link to a file that isn't there`, { cause })
  }
  try {
    if (bytes.includes(0)) throw new Error('UTF-16')
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes) // without its byte order mark
  } catch (cause) {
    throw new StartupError(`${path} is not UTF-8 text (PowerShell's > may write UTF-16): save it as UTF-8`, { cause })
  }
}

function parse (path: string, text: string, names: string[]): Entry[] {
  const lines = text.split(/\r\n|\r|\n/)
  const entries: Entry[] = []
  for (let at = 0; at < lines.length; at++) {
    const line = at + 1
    const refuse = (why: string): never => { throw new StartupError(`${path}, line ${line}: ${why}`) }
    const written = lines[at]!.trim()
    if (written === '' || written.startsWith('#')) continue
    const [, name, rest] = SETTING.exec(written) ?? refuse('this is neither NAME=value nor a comment')
    const isOurs = names.includes(name!)
    const [quote] = /^['"`]/.exec(rest!.trimStart()) ?? []
    if (quote === undefined) {
      if (isOurs && rest!.startsWith('#')) refuse(`${name} begins with a #: quote it, or put a blank before a comment`)
      entries.push({ name: name!, value: rest!.replace(/\s#.*$/s, '').trim(), line })
      continue
    }
    let last = rest!.trimStart().slice(1)
    let value = ''
    while (!last.includes(quote)) {
      value += `${last}\n`
      last = lines[++at] ?? refuse(`the quote that ${name} begins with is not closed`)
    }
    const [closing, after] = [last.indexOf(quote), last.slice(last.indexOf(quote) + 1)]
    value += last.slice(0, closing)
    if (!/^(\s*$|\s+#)/.test(after)) refuse(`${name} goes on after its closing quote`)
    if (isOurs && quote === '"' && value.includes('\\')) {
      refuse(`${name} has a \\ in double quotes, which others take for an escape: use single quotes`)
    }
    entries.push({ name: name!, value, line })
  }
  return entries
}

/** The setting that a typo or another program's name most likely means: MONGODB_URI, kafka_topic, PORTS. */
function nearest (name: string, names: string[]): string | undefined {
  const bare = (each: string): string => each.toUpperCase().replaceAll(/[^A-Z0-9]/g, '')
  const [first] = names.map((setting) => ({ setting, changes: distance(bare(name), bare(setting)) }))
    .sort((a, b) => a.changes - b.changes)
  if (first === undefined) return undefined
  const changesMax = bare(first.setting).length >= LONG_LETTERS ? LONG_CHANGES_MAX : 1
  return first.changes <= changesMax ? first.setting : undefined
}

/** Levenshtein's: letters added, dropped or changed. */
function distance (from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]!
}
