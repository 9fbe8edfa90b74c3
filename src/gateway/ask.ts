import { Agent } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import axios, { isAxiosError } from 'axios'
import CircuitBreaker from 'opossum'

/* One GraphQL query for several things at once, each under an alias (GraphQL, section 2.7). */

/** What a gateway can be asked about: the query's field and its argument, as in `user(_id: …)`. */
export interface Field { field: string, argument: string }

export interface Question { field: Field, id: string }

/** Unsure: the gateway didn't answer, or what it answered says neither. */
export type Knowledge = 'known' | 'unknown' | 'unsure'

/** Of one alias: its value, and the errors at it. */
interface GraphQLAnswer {
  data?: Record<string, unknown> | null
  errors?: { path?: unknown[], extensions?: { code?: unknown } }[]
}

const SOCKETS_MAX = 4
const ANSWER_BYTES_MAX = 1_048_576
/** The breaker opens when half of at least ten requests within 10 s failed, and lets one through 2 s later. */
const BREAKER = { timeout: false, errorThresholdPercentage: 50, volumeThreshold: 10, resetTimeout: 2_000 } as const
const NOT_FOUND = 'NOT_FOUND'

export type Gateway = ReturnType<typeof createGateway>

/** @param timeoutMs until an answer must have come, from the connect on */
export function createGateway ({ url, timeoutMs }: { url: string, timeoutMs: number }) {
  const options = { keepAlive: true, maxSockets: SOCKETS_MAX }
  const agents = { httpAgent: new Agent(options), httpsAgent: new SecureAgent(options) }
  const http = axios.create({
    ...agents,
    proxy: false, // HTTP_PROXY is for what leaves the machine
    maxRedirects: 0,
    maxContentLength: ANSWER_BYTES_MAX,
    validateStatus: (status) => status === 200
  })

  async function post (questions: Question[]): Promise<GraphQLAnswer> {
    const body = {
      query: queryOf(questions),
      variables: Object.fromEntries(questions.map(({ id }, index) => [`k${index}`, id]))
    }
    // Axios' own time-out begins with the connection.
    const { data } = await http.post<GraphQLAnswer>(url, body, { signal: AbortSignal.timeout(timeoutMs) })
    return data
  }

  /** A connection that the gateway closed while the question was on its way. To ask twice changes nothing. */
  async function postAgain (questions: Question[]): Promise<GraphQLAnswer> {
    try {
      return await post(questions)
    } catch (error) {
      if (!isAxiosError(error) || error.code !== 'ECONNRESET' || error.request?.reusedSocket !== true) throw error
      return await post(questions)
    }
  }

  const breaker = new CircuitBreaker(postAgain, BREAKER)

  return {
    /** @throws Error that says why it can't be asked */
    async ask (questions: Question[]): Promise<Knowledge[]> {
      const answer = await breaker.fire(questions).catch((cause) => {
        throw new Error(reasonOf(cause), { cause })
      })
      return questions.map((_, index) => knowledgeOf(answer, `k${index}`))
    },

    close (): void {
      breaker.shutdown()
      for (const agent of Object.values(agents)) agent.destroy()
    }
  }
}

/** `__typename` is a field of every type. Ids are variables, so that nothing in them is GraphQL. */
function queryOf (questions: Question[]): string {
  const variables = questions.map((_, index) => `$k${index}: ID!`)
  const fields = questions.map(({ field: { field, argument } }, index) =>
    `k${index}: ${field}(${argument}: $k${index}) { __typename }`)
  return `query (${variables.join(', ')}) { ${fields.join(' ')} }`
}

/**
 * Gateways make an error of whatever fails in a resolver, so an error alone says nothing: unknown is null without one,
 * or one that says so.
 */
function knowledgeOf (answer: GraphQLAnswer, alias: string): Knowledge {
  const data = answer?.data
  if (data === null || typeof data !== 'object' || !Object.hasOwn(data, alias)) return 'unsure'
  if (data[alias] !== null) return 'known'
  const errors = Array.isArray(answer.errors) ? answer.errors.filter(({ path }) => path?.[0] === alias) : []
  return errors.every(({ extensions }) => extensions?.code === NOT_FOUND) ? 'unknown' : 'unsure'
}

/** For the log: an answer may repeat what is in an order. */
function reasonOf (error: unknown): string {
  if (!isAxiosError(error)) return (error as Error).message
  if (error.response !== undefined) return `it answered with status ${error.response.status}`
  return error.code === 'ERR_CANCELED' ? 'it did not answer in time' : error.code ?? error.message
}
