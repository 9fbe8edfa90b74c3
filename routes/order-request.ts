import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { BARE_KEY_PATTERN, QUOTED_KEY_PATTERN } from '../schemas/order.ts'
import {
  ContentEncodingUnsupported,
  IdempotencyKeyMalformed,
  IdempotencyKeyRepeated,
  NotUtf8,
  UserIdConflict,
  UserIdRepeated
} from '../src/errors.ts'

type Done = (error?: Error) => void

/** JSON in UTF-8 and nothing else: the default parsers take text too, and make U+FFFD of bytes that are no UTF-8. */
export function acceptOnlyJson (app: FastifyInstance): void {
  // As JSON makes own properties of `__proto__` and `constructor`, the schema refuses them like any other unknown
  // field.
  const parseJson = app.getDefaultJsonParser('ignore', 'ignore')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body: Buffer, done) => {
    if (!isUtf8(body)) return done(new NotUtf8('The body'))
    parseJson(request, body.toString('utf8'), done)
  })
}

export function refuseContentEncoding (request: FastifyRequest, _reply: FastifyReply, done: Done): void {
  done(request.headers['content-encoding'] === undefined ? undefined : new ContentEncodingUnsupported())
}

/**
 * The gateway names the user in `x-user-id`: it stands in for a missing `userId`. The value is put where the schema of
 * the body, or of the headers, then checks it.
 */
export function takeUserIdFromHeader (request: FastifyRequest, _reply: FastifyReply, done: Done): void {
  const header = request.headers['x-user-id']
  if (header === undefined) return done()
  // Node joins what is sent twice with a comma, which may also be part of one value.
  if (request.raw.headersDistinct['x-user-id']!.length > 1) return done(new UserIdRepeated())
  const bytes = Buffer.from(header as string, 'latin1') // which is how Node reads a header's bytes
  if (!isUtf8(bytes)) return done(new NotUtf8('The header x-user-id'))
  const userId = bytes.toString('utf8')
  request.headers['x-user-id'] = userId

  const body = request.body
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return done()
  if (!Object.hasOwn(body, 'userId')) Object.assign(body, { userId })
  else if ((body as { userId: unknown }).userId !== userId) return done(new UserIdConflict())
  done()
}

/** RFC 7240, section 2: the first one counts, and a value may be quoted. */
const PREFERRED_RETURN = /(?:^|,)\s*return\s*=\s*"?(minimal|representation)"?\s*(?=[;,]|$)/i

/** Whether the order itself is not wanted in the answer. Preferences that nobody knows are ignored, as they must be. */
export function prefersMinimal (prefer: string | undefined): boolean {
  return prefer !== undefined && PREFERRED_RETURN.exec(prefer)?.[1]!.toLowerCase() === 'minimal'
}

const QUOTED = new RegExp(QUOTED_KEY_PATTERN)
const BARE = new RegExp(BARE_KEY_PATTERN)

/** The key is a structured string; clients in the way of Stripe send it bare. Both are the same key. */
export function unquoteIdempotencyKey (request: FastifyRequest, _reply: FastifyReply, done: Done): void {
  const header = request.headers['idempotency-key']
  if (header === undefined) return done()
  if (request.raw.headersDistinct['idempotency-key']!.length > 1) return done(new IdempotencyKeyRepeated())
  const quoted = QUOTED.exec(header as string)
  if (quoted !== null) request.headers['idempotency-key'] = quoted[1]!.replaceAll(/\\(.)/g, '$1')
  else if (!BARE.test(header as string)) return done(new IdempotencyKeyMalformed())
  done()
}
