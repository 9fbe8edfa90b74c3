import { Agent, request, type IncomingHttpHeaders } from 'node:http'

const ANSWER_MS_MAX = 60_000

export interface Answer {
  /** 0 when there was none. */
  status: number
  /** Or in words why there is none. */
  body: string
  headers: IncomingHttpHeaders
  /** Why there was no answer. */
  failure?: {
    code: string | undefined
    /** The connection had carried an answer before. */
    reused: boolean
  }
}

export type Client = ReturnType<typeof createClient>

/** Keep-alive connections to the service; requests beyond their number wait for one. Never rejects. */
export function createClient (url: string, connections: number, answerMsMax = ANSWER_MS_MAX) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections })
  const { hostname, port } = new URL(url)
  return {
    send (method: 'GET' | 'POST', path: string, body?: string, more: Record<string, string> = {}): Promise<Answer> {
      return new Promise((resolve) => {
        const headers =
          body === undefined
            ? more
            : { ...more, 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) }
        const sent = request({ agent, hostname, port, method, path, headers, timeout: answerMsMax }, (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk) => chunks.push(chunk))
          response.on('end', () =>
            resolve({ status: response.statusCode!, body: Buffer.concat(chunks).toString(), headers: response.headers })
          )
          response.on('error', fail)
          // Broken off it may end with neither; after `end` this changes nothing.
          response.on('close', () => fail(new Error('the answer broke off')))
        })
        sent.on('timeout', () => sent.destroy(new Error(`no answer within ${answerMsMax} ms`)))
        sent.on('error', fail)
        sent.end(body)

        function fail (error: NodeJS.ErrnoException): void {
          resolve({
            status: 0,
            body: error.message,
            headers: {},
            failure: { code: error.code, reused: sent.reusedSocket }
          })
        }
      })
    },
    close (): void {
      agent.destroy()
    }
  }
}

/** An order for the n-th buyer. Its texts are ones that an escape or an encoding could spoil on the way. */
export function newOrder (n: number): string {
  return JSON.stringify({
    userId: `buyer-${n} "Zoë" 😀\n`,
    products: Array.from({ length: 1 + (n % 3) }, (_value, line) => ({
      _id: `product-${(n * 7 + line) % 1_000}`,
      quantity: 1 + line
    }))
  })
}

export interface Posted {
  /** Id to body of each 201. */
  created: Map<string, string>
  /** How often each other status came; 0 stands for no answer. */
  others: Map<number, number>
  ms: number
}

/**
 * Each of the connections sends the next order when it has the answer to its last, until `count` are sent or `signal`
 * aborts.
 */
export async function postOrders ({ url, connections, count, signal, first = 0 }: {
  url: string, connections: number, count: number, signal?: AbortSignal, first?: number
}): Promise<Posted> {
  const client = createClient(url, connections)
  const created = new Map<string, string>()
  const others = new Map<number, number>()
  const start = performance.now()
  let next = 0
  async function connection (): Promise<void> {
    while (next < count && signal?.aborted !== true) {
      const { status, body } = await client.send('POST', '/orders', newOrder(first + next++))
      if (status === 201) created.set(JSON.parse(body)._id, body)
      else others.set(status, (others.get(status) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: connections }, connection))
  const ms = performance.now() - start
  client.close()
  return { created, others, ms }
}

export function describeOthers (others: Map<number, number>): string {
  return [...others].map(([status, count]) => `${count} × ${status === 0 ? 'no answer' : status}`).join(', ') || 'none'
}
