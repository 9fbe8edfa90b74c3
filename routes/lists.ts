import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { FILTERS } from '../plugins/reads.ts'
import { OrderListSchema } from '../schemas/order.ts'
import { OrderQuerySchema } from '../schemas/order-query.ts'
import { join, jsonArray, LINES, type Framing } from '../src/reads/framing.ts'
import { nextQuery } from '../src/reads/page-query.ts'
import { envelopeOf, JSON_TYPE, problems } from './answers.ts'
import { checkFilter, idsOf, readQuery } from './list-query.ts'

const LINES_TYPES = ['application/x-ndjson', 'application/jsonl']

/** Orders as a list: all of them, a page, or those of some ids; as an array or, for who accepts that, in lines. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { reads, lists, pages } = app
  const filters = FILTERS[app.settings.ORDER_INDEXES]!
  const array = jsonArray(envelopeOf(app.settings))

  /** JSON for whoever accepts both, or neither: it is what the list has always been. */
  function framingFor (request: FastifyRequest, reply: FastifyReply): Framing {
    reply.header('vary', 'Accept')
    const type = request.type(['application/json', ...LINES_TYPES])
    const isLines = typeof type === 'string' && LINES_TYPES.includes(type)
    reply.type(isLines ? type : JSON_TYPE)
    return isLines ? LINES : array
  }

  // Without a route of its own HEAD would read all orders to throw them away. The method stands in a list as Fastify
  // would otherwise leave out /orders without its trailing slash (route() in its lib/route.js compares with 'HEAD'
  // alone).
  app.route({
    method: ['HEAD'],
    url: '/',
    preValidation: readQuery,
    schema: { querystring: OrderQuerySchema },
    handler: async (_request, reply) => reply.type(JSON_TYPE).send()
  })

  app.get('/', {
    exposeHeadRoute: false,
    preValidation: readQuery,
    schema: { querystring: OrderQuerySchema, response: { 200: OrderListSchema, ...problems } }
  }, async (request, reply) => {
    const { query } = request
    const framing = framingFor(request, reply)
    const ids = idsOf(query)
    if (ids !== undefined) return reply.send(join(await reads.findAll(ids), framing) as never)
    if (Object.keys(query).length === 0) return reply.send(stream(await lists.open(framing)) as never)
    checkFilter(query, filters)
    const { body, last } = await pages.read(query, framing)
    // A query alone is relative to whatever a proxy made of the path (RFC 8288, section 3.1; RFC 3986, section 5.2).
    if (last !== undefined) reply.header('link', `<?${nextQuery(query, last)}>; rel="next"`)
    return reply.send((Buffer.isBuffer(body) ? body : stream(body)) as never)
  })
}

function stream (chunks: AsyncGenerator<Buffer>): Readable {
  return Readable.from(chunks, { objectMode: false })
}

export default routes
