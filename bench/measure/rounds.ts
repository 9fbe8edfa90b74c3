import { within } from '../../src/runtime/deadline.ts'
import type { Contestant } from './contestants.ts'
import type { Figures, Measurement } from './measurement.ts'
import type { Stage } from './stage.ts'

/** All waits inside have bounds of their own; this is for what nobody thought of. */
const RUN_MS_MAX = 10 * 60_000

/** The figures of each contestant in each measurement, one entry for each round in which there were any. */
export type Results = Record<string, Record<string, (Figures | undefined)[]>>

export interface Plan {
  measurements: Measurement[]
  contestants: Contestant[]
  rounds: number
  results: Results
  /** Ends it, whatever is at work then. */
  signal: AbortSignal
  /** Told after each run. */
  onRun: (text: string) => void
}

function takesPart ({ kind, name }: Contestant, { kinds, without = [] }: Measurement): boolean {
  return kinds.includes(kind) && !without.includes(name)
}

/** Each measurement with one contestant after the other, each round beginning with another one. @returns what failed */
export async function runRounds (
  stage: Stage,
  { measurements, contestants, rounds, results, signal, onRun }: Plan
): Promise<string[]> {
  const failures: string[] = []
  for (let round = 0; round < rounds; round++) {
    const rotated = contestants.map((_contestant, index) => contestants[(index + round) % contestants.length]!)
    for (const measurement of measurements.filter(({ roundsMax = Infinity }) => round < roundsMax)) {
      for (const contestant of rotated.filter((each) => takesPart(each, measurement))) {
        signal.throwIfAborted()
        const what = `round ${round + 1}, ${measurement.name}, ${contestant.name}`
        try {
          const figures = await within(RUN_MS_MAX, what, measurement.run(stage, contestant))
          const rows = ((results[measurement.name] ??= {})[contestant.name] ??= [])
          rows[round] = figures
          onRun(
            `${what}: ${Object.entries(figures)
              .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
              .join(', ')}`
          )
        } catch (error) {
          signal.throwIfAborted()
          failures.push(`${what}: ${(error as Error).message}`)
          onRun(`${what}: FAILED: ${(error as Error).message}`)
        }
      }
    }
  }
  return failures
}
