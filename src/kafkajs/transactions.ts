import { setTimeout as delay } from 'node:timers/promises'
import Broker from 'kafkajs/src/broker/index.js'

/*
 * kafkajs (2.2.4, and 2.3.0-beta.3) can commit records twice where a topic has leaders on more than one broker. It
 * sends a batch in one request per broker, and begins again as a whole at the first that fails
 * (producer/sendMessages.js): a broker that has not answered yet counts as one without an answer and gets its
 * records again, with the next sequence numbers, so it has no reason to refuse them. tulios/kafkajs#1798 is about
 * the other half, an answer that is kept when it is no longer true; the patch there doesn't cure this.
 *
 * So the relay's producer never lets kafkajs send again (src/kafka.ts). That leaves the one refusal that is no
 * failure: a coordinator takes no partitions until the markers of the transaction before are written, which takes
 * some ms. That is waited out here, below the batch. Remove both once kafkajs sends again only what has failed.
 *
 * InitProducerId is refused likewise while Kafka aborts what another producer left open. kafkajs waits for that too,
 * but 300 ms at first whatever the client's settings say (tulios/kafkajs#304).
 */

const WAIT_MS = 5
const WAIT_MS_MAX = 100
/** As long as a transaction may take, after which its producer is closed. */
const WAITS_MS_MAX = 15_000

const { addPartitionsToTxn, initProducerId } = Broker.prototype

Broker.prototype.addPartitionsToTxn = function (request) {
  return whenComplete(this, () => addPartitionsToTxn.call(this, request))
}

Broker.prototype.initProducerId = function (request) {
  return whenComplete(this, () => initProducerId.call(this, request))
}

/** Asks until the transaction before is complete, or its producer is closed: to ask then would connect once more. */
async function whenComplete<T> (broker: typeof Broker.prototype, ask: () => Promise<T>): Promise<T> {
  const end = performance.now() + WAITS_MS_MAX
  for (let waitMs = WAIT_MS; ; waitMs = Math.min(waitMs * 2, WAIT_MS_MAX)) {
    try {
      return await ask()
    } catch (error) {
      if ((error as { type?: string }).type !== 'CONCURRENT_TRANSACTIONS' || performance.now() > end) throw error
      await delay(waitMs)
      if (!broker.connectionPool.isConnected()) throw error
    }
  }
}
