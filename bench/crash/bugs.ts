import type { Violation } from '../check/checker.ts'

/**
 * A lie that is built into the services on purpose, by a file of the same name in preload/: the checker must find it.
 */
export interface Bug {
  name: string
  title: string
  /** The faults that bring it to light. */
  faults: string[]
  /** One of these must be found. */
  violations: Violation[]
}

export const BUGS: Bug[] = [
  {
    name: 'ack-before-write',
    title: 'a 201 before the order is stored',
    faults: ['kill-service', 'kill-all'],
    violations: ['lost']
  },
  {
    name: 'ack-one-member',
    title: 'a 201 when one member has the order',
    faults: ['kill-ahead'],
    violations: ['lost']
  },
  {
    name: 'token-before-events',
    title: 'the checkpoint is committed before the events',
    faults: ['kill-leader', 'kill-all'],
    violations: ['missing-event']
  },
  {
    name: 'events-before-token',
    title: 'the events are committed before the checkpoint',
    faults: ['kill-leader', 'kill-all'],
    violations: ['duplicate-event']
  },
  {
    name: 'partition-twice',
    title: 'a partition is sent twice in one transaction',
    faults: ['kill-service'],
    violations: ['duplicate-event']
  },
  {
    name: 'no-fence',
    title: 'each leader has a transactional.id of its own',
    faults: ['hang-before-send'],
    violations: ['duplicate-event']
  },
  {
    name: 'key-not-unique',
    title: 'an Idempotency-Key is not unique',
    faults: ['kill-service'],
    violations: ['two-orders']
  },
  {
    name: 'other-quantity',
    title: 'another quantity is stored than was answered',
    faults: ['kill-service'],
    violations: ['wrong-body', 'wrong-event']
  }
]
