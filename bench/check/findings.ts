import { percentile } from '../clients/open-loop.ts'

export interface Scenario {
  name: string
  /** What is proven, in a few words. */
  title: string
  run: (bench: Bench) => Promise<void>
}

export interface Bench {
  /** Of this scenario alone: its LOCAL_DIR, or what holds several. */
  dir: string
  /** How long an outage lasts. */
  seconds: number
  /** How many wait in a backlog. */
  orders: number
  /** Goes into the scenario's line. */
  figure: (text: string) => void
  /** Goes onto a line of its own, below. */
  detail: (text: string) => void
  /** The scenario fails, and goes on, when the fact is false. */
  expect: (fact: boolean, otherwise: string) => void
}

export function createFindings () {
  const figures: string[] = []
  const details: string[] = []
  const failures: string[] = []
  return {
    figure (text: string): void { figures.push(text) },
    detail (text: string): void { details.push(text) },
    expect (fact: boolean, otherwise: string): void { if (!fact) failures.push(otherwise) },
    found: () => ({ figures, details, failures })
  }
}

export function round (value: number, digits = 0): string {
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })
}

export function range (values: number[]): string {
  return `p50 ${round(percentile(values, 0.5))} ms, max ${round(percentile(values, 1))} ms`
}
