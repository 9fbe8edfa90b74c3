/** How many, and the first few of them. */
export interface Finding { count: number, first: string[] }

const FIRST_MAX = 10

/**
 * What an audit reports, worst first. Only the first four are findings; the others say why an order without an event is
 * none.
 */
const KINDS = {
  missing: 'stored orders without an event',
  duplicate: 'orders with more than one event',
  unknown: 'events without a stored order',
  invalid: 'records that are no valid event of their order',
  repaired: 'events that were missing and are sent now',
  pending: 'orders that the relay has yet to come to',
  young: 'orders younger than the grace, without an event yet',
  unknowable: 'orders whose event retention may have removed from the topic',
  beforeTopic: 'orders from before this topic was first used'
} as const
export type Kind = keyof typeof KINDS
const FINDINGS: Kind[] = ['missing', 'duplicate', 'unknown', 'invalid']

export type AuditReport = ReturnType<typeof createAuditReport>

export function createAuditReport (about: Record<string, unknown>) {
  const findings = Object.fromEntries(
    Object.keys(KINDS).map((kind) => [kind, { count: 0, first: [] }])
  ) as unknown as Record<Kind, Finding>
  return {
    records: 0,
    orders: 0,
    legacy: 0,
    replayed: 0,

    add (kind: Kind, what: string): void {
      const finding = findings[kind]
      if (++finding.count <= FIRST_MAX) finding.first.push(what)
    },

    get exitCode (): 0 | 1 {
      return FINDINGS.every((kind) => findings[kind].count === 0) ? 0 : 1
    },

    toJson (): object {
      const { records, orders, legacy, replayed, exitCode } = this
      return { ...about, clean: exitCode === 0, records, orders, legacy, replayed, ...findings }
    },

    toLines (): string[] {
      const lines = [
        `${this.records} records, ${this.orders} orders (${this.legacy} others, which are never published), ${this.replayed} records are replays`
      ]
      for (const [kind, meaning] of Object.entries(KINDS) as [Kind, string][]) {
        const { count, first } = findings[kind]
        if (count === 0 && !FINDINGS.includes(kind)) continue
        lines.push(`${kind}: ${count} ${meaning}`, ...first.map((each) => `  ${each}`))
        if (count > first.length) lines.push(`  and ${count - first.length} more`)
      }
      return [...lines, this.exitCode === 0 ? 'clean' : 'NOT CLEAN']
    }
  }
}
