import BrokerPool from 'kafkajs/src/cluster/brokerPool.js'

/*
 * kafkajs takes what is before the first colon of a broker for its host, so [::1]:9092 can't be reached, while a
 * broker that says such an address of itself can: https://github.com/tulios/kafkajs/issues/1589. Until that is mended,
 * an IPv6 address goes in with ; for each colon and is put right before anything connects.
 */
export const seedOf = (broker: string): string => broker.replace(/^\[.*\]/, (address) => address.replaceAll(':', ';'))
const { createSeedBroker } = BrokerPool.prototype
BrokerPool.prototype.createSeedBroker = async function () {
  await createSeedBroker.call(this)
  const { host, port } = this.seedBroker!.connectionPool
  if (!host.startsWith('[')) return
  const connectionPool = await this.connectionPoolBuilder.build({ host: host.slice(1, -1).replaceAll(';', ':'), port })
  this.seedBroker = this.createBroker({ connectionPool, logger: this.rootLogger })
}
