import { parseArgs } from 'node:util'
import type { Measurement } from './measure/measurement.ts'

const ROUNDS_MAX = 50
const SECONDS_MAX = 60

export interface Options {
  rounds: number
  seconds: number
  quick: boolean
  write: boolean
  /** A checkout of an earlier state that was built: its service takes part instead of the peers. */
  before: string | undefined
  /** The service with these settings takes part instead of the peers: what a choice costs. */
  settings: Record<string, string> | undefined
  measurements: Measurement[]
}

/** @throws Error that says what would be right */
export function optionsFrom (args: string[], all: Measurement[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      before: { type: 'string' },
      with: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false }
    }
  })
  const { quick, write } = values
  if (write && (values.before ?? values.with) !== undefined) {
    throw new Error('--write is for the peers, --before and --with compare without them')
  }
  if (values.before !== undefined && values.with !== undefined) throw new Error('either --before or --with')
  return {
    rounds: number('rounds', values.rounds ?? (quick ? '1' : '5'), 0, ROUNDS_MAX),
    seconds: number('seconds', values.seconds ?? (quick ? '1' : '5'), 1, SECONDS_MAX),
    quick,
    write,
    before: values.before,
    settings: values.with === undefined ? undefined : settingsFrom(values.with),
    measurements:
      values.only === undefined
        ? all.filter((measurement) => measurement.quick || !quick)
        : named(values.only.split(','), all)
  }
}

function settingsFrom (pairs: string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const [, name, value] = /^([A-Z_]+)=(.*)$/s.exec(pair) ?? []
    if (name === undefined) throw new Error('--with must be NAME=VALUE')
    return [name, value!]
  }))
}

function number (name: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new Error(`--${name} must be an integer from ${min} to ${max}`)
  }
  return value
}

/** In the order in which they run, with those that they need. */
function named (names: string[], all: Measurement[]): Measurement[] {
  const unknown = names.filter((name) => !all.some((measurement) => measurement.name === name))
  if (unknown.length > 0) {
    throw new Error(`There is no measurement ${unknown.join(', ')}: ${all.map(({ name }) => name).join(', ')}`)
  }
  const needed = all.filter(({ name }) => names.includes(name)).flatMap(({ needs }) => needs ?? [])
  return all.filter(({ name }) => names.includes(name) || needed.includes(name))
}
