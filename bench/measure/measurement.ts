import type { Contestant } from './contestants.ts'
import type { Stage } from './stage.ts'

/** By name; all are numbers, with the unit last in the name. */
export type Figures = Record<string, number>

export interface Measurement {
  name: string
  title: string
  /** Who takes part. */
  kinds: Contestant['kind'][]
  /** Only contestants that are not among these can do it. */
  without?: string[]
  /** The figure that is compared, and what it counts. */
  figure: string
  unit: string
  /** Part of `--quick` too. */
  quick: boolean
  /** Where more rounds tell nothing more. */
  roundsMax?: number
  /** A measurement whose figures this one uses. */
  needs?: string
  run: (stage: Stage, contestant: Contestant) => Promise<Figures>
}
