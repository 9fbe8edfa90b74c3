import type { Results } from '../measure/rounds.ts'

export function median (values: number[]): number | undefined {
  const sorted = values.filter((value) => Number.isFinite(value)).toSorted((a, b) => a - b)
  if (sorted.length === 0) return undefined
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function medianOf (
  results: Results,
  measurement: string,
  contestant: string,
  figure: string
): number | undefined {
  return median((results[measurement]?.[contestant] ?? []).flatMap((figures) => figures?.[figure] ?? []))
}

/**
 * How many times the figure of any of `others`, the best of them, one contestant has: the median of what each round
 * says by itself, as what slows the machine down for a while is mostly the same for all in a round.
 */
export function ratioTo (
  results: Results,
  measurement: string,
  contestant: string,
  others: string[],
  figure: string
): number | undefined {
  const rounds = results[measurement]?.[contestant] ?? []
  return median(
    rounds.flatMap((figures, round) => {
      const theirs = others.flatMap((other) => results[measurement]?.[other]?.[round]?.[figure] ?? [])
      return figures?.[figure] === undefined || theirs.length === 0 ? [] : figures[figure] / Math.max(...theirs)
    })
  )
}
