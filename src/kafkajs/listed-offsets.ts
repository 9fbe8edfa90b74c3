import Broker from 'kafkajs/src/broker/index.js'

/*
 * What kafkajs' admin calls the high offset is where the last finished transaction ends, as its requests ask for
 * committed records unless they say otherwise. A caller that must see all that was written before asks for what its
 * name says: the high watermark, which Kafka's own admin client gives. Consumers ask for what they want.
 */
const READ_UNCOMMITTED = 0
const { listOffsets } = Broker.prototype
Broker.prototype.listOffsets = function (request) {
  return listOffsets.call(this, { ...request, isolationLevel: request.isolationLevel ?? READ_UNCOMMITTED })
}
