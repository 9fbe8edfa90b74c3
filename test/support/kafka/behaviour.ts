export const NODES = [1, 2, 3]

export type Api =
  'Produce' | 'Metadata' | 'FindCoordinator' | 'ApiVersions' | 'InitProducerId' | 'AddPartitionsToTxn' | 'EndTxn'

export interface PartitionAt { topic: string, partition: number }

/** How the brokers of test/support/kafka/brokers.ts behave, which a test may change at any time. */
export interface Behaviour {
  /** How long a request is on its way. */
  wayMs: () => number
  /** How long a broker waits for its followers after it has written. */
  produceMs: (node: number) => number
  /** How long a broker hangs before it looks at a Produce request. */
  hangsMs: (node: number) => number
  /** How long the markers of a transaction are on their way; until then the next one is refused. */
  completesMs: () => number
  /** An error code for a partition, 0 for none. */
  refuses: (api: 'Produce' | 'AddPartitionsToTxn', node: number, place: PartitionAt) => number
  /** Whether a broker closes the connection instead of answering a Produce request, and on which side of writing it. */
  closes: (node: number) => 'unwritten' | 'written' | undefined
  /** How much a connection carries. */
  bytesPerSecond: number
  /** How long a quota tells the producer to wait after each Produce request. */
  throttleMs: number
}

export const WELL_BEHAVED: Behaviour = {
  wayMs: () => 0,
  produceMs: () => 0,
  hangsMs: () => 0,
  completesMs: () => 0,
  refuses: () => 0,
  closes: () => undefined,
  bytesPerSecond: Infinity,
  throttleMs: 0
}
