import { once } from 'node:events'
import { connect } from 'node:net'
import { within } from '../../src/runtime/deadline.ts'

const ELECT_LEADERS = 43
const CORRELATION_ID = 1
const NO_CLIENT_ID = -1
const ALL_PARTITIONS = -1
const ELECTION_MS_MAX = 5_000
const LENGTH_BYTES = 4

/**
 * Makes the first replica of every partition its leader, as far as it is in sync (a preferred election, which any
 * broker passes on to the controller). By hand, as kafkajs (2.2.4) doesn't have this request. What came of it the
 * topics' metadata says.
 */
export async function electPreferredLeaders (port: number): Promise<void> {
  const request = Buffer.alloc(22)
  request.writeInt32BE(request.length - LENGTH_BYTES)
  request.writeInt16BE(ELECT_LEADERS, 4)
  request.writeInt16BE(0, 6) // its version, in which all elections are preferred ones
  request.writeInt32BE(CORRELATION_ID, 8)
  request.writeInt16BE(NO_CLIENT_ID, 12)
  request.writeInt32BE(ALL_PARTITIONS, 14)
  request.writeInt32BE(ELECTION_MS_MAX, 18)
  const socket = connect(port, '127.0.0.1')
  try {
    const answered = once(socket, 'data')
    answered.catch(() => {}) // it may fail before it is waited for
    await once(socket, 'connect')
    socket.write(request)
    const [answer] = await within(ELECTION_MS_MAX, 'the election of leaders', answered) as [Buffer]
    if (answer.readInt32BE(LENGTH_BYTES) !== CORRELATION_ID) throw new Error('a broker answered another request')
  } finally {
    socket.destroy()
  }
}
