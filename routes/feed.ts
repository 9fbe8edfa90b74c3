import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { FeedHeadersSchema, FeedQuerySchema } from '../schemas/feed-query.ts'
import { FeedOff, FeedPositionMalformed, FeedUnavailable } from '../src/errors.ts'
import { decodePosition, type Position } from '../src/feed/position.ts'
import { problemAnswers } from './answers.ts'
import { mistakeIn } from './list-query.ts'

const STREAM_TYPE = 'text/event-stream'

const DESCRIPTION = [
  'Server-sent events, `order-placed`, each with the JSON of the event on the topic.',
  'The id of an event is the place after it: who sends it back as Last-Event-ID, to any replica, gets all that came since, and each order once.',
  'Without one it begins with what is published from now on. It ends when the process ends, and a client that takes too little of it is cut off: both go on where they were.'
].join(' ')

/** Orders as they are published. */
const routes: FastifyPluginAsyncTypebox = async (app) => {
  const { feed } = app
  const isOff = app.settings.FEED_CLIENTS_MAX === 0

  /** An EventSource keeps its address, so what it says in a header is the newer one. */
  function positionOf ({ headers, query }: Pick<FastifyRequest, 'headers'> & { query: { after?: string } }): Position | undefined {
    const header = headers['last-event-id'] as string | undefined
    const id = header ?? query.after
    if (id === undefined) return undefined
    const position = decodePosition(id)
    if (position !== undefined) return position
    const place = header === undefined ? { parameter: 'after' } : { header: 'last-event-id' }
    throw Object.assign(new FeedPositionMalformed(), { places: [place] })
  }

  function checkQuery (request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
    done(mistakeIn(request, FeedQuerySchema))
  }

  // Without a route of its own it would be taken for an order id.
  app.route({
    method: ['HEAD'],
    url: '/stream',
    preValidation: checkQuery,
    schema: { querystring: FeedQuerySchema },
    handler: async (_request, reply) => {
      if (isOff) throw new FeedOff()
      if (feed === undefined) throw new FeedUnavailable()
      return reply.type(STREAM_TYPE).send()
    }
  })

  app.get('/stream', {
    exposeHeadRoute: false,
    config: { disableMetrics: true }, // which would take its hours for a slow answer
    preValidation: checkQuery,
    schema: {
      operationId: 'streamOrders',
      summary: 'Orders as they are published',
      description: DESCRIPTION,
      querystring: FeedQuerySchema,
      headers: FeedHeadersSchema,
      response: {
        200: {
          description: 'the stream, without an end',
          headers: { 'Cache-Control': { type: 'string', enum: ['no-store'] } },
          content: { [STREAM_TYPE]: { schema: Type.String({ description: 'WHATWG HTML, section 9.2' }) } }
        },
        ...problemAnswers
      },
      problems: {
        400: ['VALIDATION_FAILED', 'QUERY_MALFORMED', 'PARAMETER_REPEATED', 'FEED_POSITION_MALFORMED'],
        404: ['FEED_OFF'],
        410: ['FEED_POSITION_GONE'],
        503: ['OVERLOADED', 'FEED_FULL', 'FEED_UNAVAILABLE']
      }
    }
  }, async (request, reply) => {
    if (isOff) throw new FeedOff()
    const position = positionOf(request)
    if (feed === undefined) throw new FeedUnavailable()
    const stream = await feed.open(position, request.query.userId)
    reply.type(STREAM_TYPE).header('cache-control', 'no-store').header('x-accel-buffering', 'no')
    return reply.send(stream as never)
  })
}

export default routes
