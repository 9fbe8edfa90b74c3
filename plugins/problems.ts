import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { RouteNotFound } from '../src/errors.ts'
import { problemOf, PROBLEM_TYPE, serializeProblem } from '../src/problems.ts'

/** Every error as application/problem+json (RFC 9457): thrown ones, unknown routes and what the framework refuses by itself. */
export default fp(async (app) => {
  app.setErrorHandler(sendProblem)
  app.setNotFoundHandler((request) => {
    throw new RouteNotFound(request.method, request.url)
  })
}, { name: 'problems' })

/** Whole seconds are all that Retry-After can say. Those who were turned away together should not all come back together. */
const OVERLOADED_SECONDS_MAX = 2

/** Also Fastify's `frameworkErrors`, for what fails before a route is found. */
export function sendProblem (error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemOf(error, request.id, request.url)
  if (problem.status === 500) request.log.error({ err: error, requestId: request.id }, 'a request failed')
  reply.header('x-request-id', request.id) // no hook does it where no route was found for want of a valid path
  if (problem.status === 503 || problem.status === 409) reply.header('retry-after', String(problem.code === 'OVERLOADED' ? 1 + Math.floor(Math.random() * OVERLOADED_SECONDS_MAX) : 1))
  reply.code(problem.status).type(PROBLEM_TYPE).serializer(serializeProblem).send(problem)
}
