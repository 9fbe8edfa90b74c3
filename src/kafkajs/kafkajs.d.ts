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
      fetch: (
        request: unknown
      ) => Promise<{ responses: { partitions: import('./aborted-records.ts').FetchedPartition[] }[] }>
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
declare module 'kafkajs/src/cluster/brokerPool.js' {
  interface ConnectionPool { host: string, port: number }
  const BrokerPool: {
    prototype: {
      seedBroker?: { connectionPool: ConnectionPool }
      connectionPoolBuilder: { build: (destination: { host: string, port: number }) => Promise<ConnectionPool> }
      rootLogger: unknown
      createBroker: (options: { connectionPool: ConnectionPool, logger: unknown }) => { connectionPool: ConnectionPool }
      createSeedBroker: () => Promise<void>
    }
  }
  export default BrokerPool
}
