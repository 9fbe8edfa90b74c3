declare module 'kafkajs/src/network/requestQueue/index.js' {
  const RequestQueue: {
    prototype: { pending: unknown[], scheduleCheckPendingRequests: () => void }
  }
  export default RequestQueue
}
declare module 'kafkajs/src/broker/index.js' {
  const Broker: {
    prototype: {
      connectionPool: { isConnected: () => boolean }
      addPartitionsToTxn: (request: unknown) => Promise<unknown>
      initProducerId: (request: unknown) => Promise<unknown>
      listOffsets: (request: { isolationLevel?: number }) => Promise<unknown>
      fetch: (request: unknown) => Promise<{ responses: { partitions: import('./kafkajs-aborted.ts').FetchedPartition[] }[] }>
    }
  }
  export default Broker
}
declare module 'kafkajs/src/network/connection.js' {
  const Connection: {
    prototype: { connect: () => Promise<unknown> }
  }
  export default Connection
}
