import fastify, { type FastifyInstance } from 'fastify'
import mercurius from 'mercurius'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

const SCHEMA = `
  type User { _id: ID! }
  type Product { _id: ID!, price: Int }
  type Query { user(_id: ID!): User, product(id: ID!): Product }
`

export interface Behaviour {
  /** Ids that exist begin with none of these. */
  unknown: string
  /** Its resolvers fail, as most do for what they don't find and for what is away alike. */
  failing: string
  /** Its resolvers fail with a code that says that there is none. */
  notFound: string
  /** Before a query is looked at. */
  instead?: ((request: { url: string }) => Promise<{ status: number, body: unknown }>) | undefined
}

/** A real GraphQL server, as a shop's gateway is one. It counts its requests and the things that they ask about. */
export async function startGateway (t: Test) {
  const behaviour: Behaviour = { unknown: 'unknown', failing: 'failing', notFound: 'not-found' }
  const seen: string[][] = []
  let asked: string[] = []
  let app: FastifyInstance | undefined
  let port = 0

  function find (id: string): { _id: string } | null {
    asked.push(id)
    if (id.startsWith(behaviour.failing)) throw new Error(`Unable to fetch product with ID: ${id}`)
    if (id.startsWith(behaviour.notFound)) {
      throw new mercurius.ErrorWithProps('there is none', { code: 'NOT_FOUND' })
    }
    return id.startsWith(behaviour.unknown) ? null : { _id: id }
  }

  async function start (): Promise<void> {
    app = fastify({ forceCloseConnections: true })
    app.addHook('preHandler', async (request, reply) => {
      seen.push(asked = [])
      const other = await behaviour.instead?.(request)
      if (other !== undefined) return await reply.code(other.status).send(other.body)
    })
    app.register(mercurius, {
      schema: SCHEMA,
      resolvers: {
        Query: {
          user: (_root: unknown, { _id }: { _id: string }) => find(_id),
          product: (_root: unknown, { id }: { id: string }) => find(id)
        }
      }
    })
    await app.listen({ host: '127.0.0.1', port })
    port = (app.server.address() as AddressInfo).port
  }

  const stop = async (): Promise<void> => { await app?.close() }
  await start()
  t.teardown(stop)
  return { behaviour, seen, start, stop, url: `http://127.0.0.1:${port}/graphql` }
}
