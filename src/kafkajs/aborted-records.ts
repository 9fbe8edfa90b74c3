import Broker from 'kafkajs/src/broker/index.js'

/*
 * kafkajs (2.2.4) shows consumers of committed records some of those that were aborted. For each partition that is
 * fetched the broker names the aborted transactions, in the order in which they ended. kafkajs' filter
 * (consumer/filterAbortedMessages.js) takes the list for one in the order of their first offsets, and takes no more
 * than one of it at a record. So where aborted transactions of several producers overlap, it lets records of them pass.
 *
 * Here it is done as Kafka's own client does it. The filter can't be replaced, as kafkajs may have loaded it before;
 * what is fetched can: aborted records are marked as control records, which kafkajs passes over but counts as read.
 */

export interface FetchedRecord {
  offset: string
  key: Buffer | null
  isControlRecord: boolean
  batchContext?: { producerId: string, inTransaction: boolean, firstOffset?: string, lastOffsetDelta?: number }
}

export interface AbortedTransaction { producerId: string, firstOffset: string }

export interface FetchedPartition {
  partition: number
  abortedTransactions?: AbortedTransaction[] | null
  messages: FetchedRecord[]
}

/** The end of a transaction is a record of two int16: a version, and 0 for an abort, 1 for a commit. */
const CONTROL_TYPE_AT = 2
const ABORT = 0

/** @returns whether a record was aborted; to be asked for each record of a partition in the order of their offsets */
export function createIsAborted (abortedTransactions: AbortedTransaction[]): (record: FetchedRecord) => boolean {
  const coming = abortedTransactions
    .map(({ producerId, firstOffset }) => ({ producerId, firstOffset: Number(firstOffset) }))
    .sort((one, other) => one.firstOffset - other.firstOffset)
  const open = new Set<string>()
  let next = 0
  return ({ offset, key, isControlRecord, batchContext }) => {
    while (next < coming.length && coming[next]!.firstOffset <= Number(offset)) open.add(coming[next++]!.producerId)
    if (batchContext === undefined) return false
    if (!isControlRecord) return batchContext.inTransaction && open.has(batchContext.producerId)
    if (key?.readInt16BE(CONTROL_TYPE_AT) === ABORT) open.delete(batchContext.producerId)
    return false
  }
}

/** Marks aborted records so that kafkajs hands over none of them, and leaves its own filter nothing to do. */
export function hideAborted (partition: FetchedPartition): void {
  if (!partition.abortedTransactions?.length) return
  const isAborted = createIsAborted(partition.abortedTransactions)
  for (const record of partition.messages) if (isAborted(record)) record.isControlRecord = true
  partition.abortedTransactions = []
}

const { fetch } = Broker.prototype
Broker.prototype.fetch = async function (request) {
  const answer = await fetch.call(this, request)
  for (const { partitions } of answer.responses) partitions.forEach(hideAborted)
  return answer
}
