import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { FILTERS } from '../plugins/reads.ts'
import { Type } from '@sinclair/typebox'
import { OrderBatchSchema, OrderListSchema } from '../schemas/order.ts'
import { OrderQuerySchema } from '../schemas/order-query.ts'
import { join, jsonArray, LINES, type Framing } from '../src/reads/framing.ts'
import { nextQuery } from '../src/reads/page-query.ts'
import { envelopeOf, jsonAnswer, JSON_TYPE, problemAnswers } from './answers.ts'
import { checkFilter, idsOf, readQuery } from './list-query.ts'

const LINES_TYPES = ['application/x-ndjson', 'application/jsonl']

const COMPRESSED_BYTES_MIN = 16_384

const DESCRIPTION = [
  'Without parameters it is all orders, oldest first, as a stream.',
  'With `ids` it is these orders, in this order, and `null` for those that are unknown; no other parameter can be used then.',
  'Any other parameter makes it a page. `userId` and `productId` can\'t be combined, and each may be switched off.',
  'In a walk from page to page no order comes twice, and every order is there that was stored when the walk began.'
].join(' ')

const LIST_ANSWER = jsonAnswer('the orders', Type.Union([OrderListSchema, OrderBatchSchema]), {
  Link: {
    type: 'string',
    description: 'only if another page follows: where it is, relative to the address of this one, as <?…>; rel="next"'
  },
  Vary: { type: 'string' }
})
for (const type of LINES_TYPES) {
  LIST_ANSWER.content[type] = { schema: Type.String({ description: 'an order in JSON, or null, on each line' }) }
}

/** Orders as a list: all of them, a page, or those of some ids; as an array or, for who accepts that, in lines. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { reads, lists, pages } = app
  const compressed = app.settings.COMPRESSION === 'on'
  if (compressed) await compressHere(app)
  const filters = FILTERS[app.settings.ORDER_INDEXES]!
  const array = jsonArray(envelopeOf(app.settings))

  /** JSON for whoever accepts both, or neither: it is what the list has always been. */
  function framingFor (request: FastifyRequest, reply: FastifyReply): Framing {
    reply.header('vary', compressed ? 'Accept, accept-encoding' : 'Accept')
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
    schema: {
      operationId: 'listOrders',
      summary: 'All orders, a page of them, or those of some ids',
      description: DESCRIPTION,
      querystring: OrderQuerySchema,
      response: { 200: LIST_ANSWER, ...problemAnswers },
      problems: {
        400: ['VALIDATION_FAILED', 'QUERY_MALFORMED', 'PARAMETER_REPEATED', 'PARAMETERS_CONFLICT', 'FILTER_OFF'],
        503: ['OVERLOADED', 'INDEX_MISSING', 'STORE_UNAVAILABLE']
      }
    }
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

/** Of this plugin's routes alone: it adds hooks to each route that it knows of. */
async function compressHere (app: FastifyInstance): Promise<void> {
  const { default: compress } = await import('@fastify/compress')
  await app.register(compress, {
    globalDecompression: false,
    threshold: COMPRESSED_BYTES_MIN,
    syncThreshold: 0,
    encodings: ['gzip', 'br'],
    customTypes: (type: string) => ['application/json', ...LINES_TYPES].includes(type.split(';', 1)[0]!)
  })
}

function stream (chunks: AsyncGenerator<Buffer>): Readable {
  return Readable.from(chunks, { objectMode: false })
}

export default routes
