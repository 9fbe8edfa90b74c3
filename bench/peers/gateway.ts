import fastify from 'fastify'
import mercurius from 'mercurius'

/* `node dist/bench/peers/gateway.js`: a gateway that knows every user and product, to see what it costs to ask. */

const SCHEMA = `
  type User { _id: ID! }
  type Product { _id: ID! }
  type Query { user(_id: ID!): User, product(id: ID!): Product }
`
const app = fastify()
app.register(mercurius, {
  schema: SCHEMA,
  jit: 1,
  resolvers: {
    Query: {
      user: (_root: unknown, { _id }: { _id: string }) => ({ _id }),
      product: (_root: unknown, { id }: { id: string }) => ({ _id: id })
    }
  }
})
console.log(`GATEWAY_URL=${await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0) })}/graphql`)
