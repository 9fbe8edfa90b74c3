import createError from '@fastify/error'

/**
 * What can go wrong by design, each declared once: code, public text, HTTP status. A caller's mistake is 4xx and says
 * what to change; 503 says that trying again later may help, and comes with Retry-After.
 */
export const OrderNotFound = createError<[string]>('ORDER_NOT_FOUND', 'There is no order %s.', 404)
export const RouteNotFound = createError<[string, string]>('ROUTE_NOT_FOUND', 'There is no %s %s here.', 404)
export const MethodNotAllowed = createError<[string, string]>(
  'METHOD_NOT_ALLOWED',
  'There is no %s for this path, but %s.',
  405
)
export const HostMissing = createError('HOST_MISSING', 'An HTTP/1.1 request needs the header Host.', 400)
export const NotUtf8 = createError<[string]>('NOT_UTF8', '%s is not valid UTF-8.', 400)
export const QueryMalformed = createError(
  'QUERY_MALFORMED',
  'The query is not percent-encoded UTF-8.',
  400
)
export const ParameterRepeated = createError<[string]>('PARAMETER_REPEATED', 'The parameter %s must be sent once.', 400)
export const ParametersConflict = createError<[string, string]>(
  'PARAMETERS_CONFLICT',
  "The parameters %s and %s can't be used together.",
  400
)
export const FilterOff = createError<[string, string]>(
  'FILTER_OFF',
  'The parameter %s is switched off here, as it needs an index: start the service with ORDER_INDEXES=%s or all.',
  400
)
export const UserIdRepeated = createError('USER_ID_REPEATED', 'The header x-user-id must be sent once.', 400)
export const UserIdConflict = createError(
  'USER_ID_CONFLICT',
  'The header x-user-id and userId in the body name different users.',
  400
)
export const ContentEncodingUnsupported = createError(
  'CONTENT_ENCODING_UNSUPPORTED',
  'Send the body without Content-Encoding.',
  415
)
export const IdempotencyKeyRepeated = createError(
  'IDEMPOTENCY_KEY_REPEATED',
  'The header Idempotency-Key must be sent once.',
  400
)
export const IdempotencyKeyMalformed = createError(
  'IDEMPOTENCY_KEY_MALFORMED',
  'The header Idempotency-Key must be a string in double quotes (RFC 8941) or the bare key.',
  400
)
export const IdempotencyKeyReused = createError(
  'IDEMPOTENCY_KEY_REUSED',
  'This Idempotency-Key came with another order before. Use a new key for a new order.',
  422
)
export const IdempotencyKeyInUse = createError(
  'IDEMPOTENCY_KEY_IN_USE',
  'The order with this Idempotency-Key is still being stored. Try again.',
  409
)
export const UnknownUser = createError('UNKNOWN_USER', 'The gateway knows no such user.', 422)
export const UnknownProduct = createError('UNKNOWN_PRODUCT', 'The gateway knows no such product.', 422)
export const GatewayUnavailable = createError(
  'GATEWAY_UNAVAILABLE',
  'The gateway does not say whether user and products exist. Nothing was stored by this request; try again.',
  503
)
export const FeedPositionMalformed = createError(
  'FEED_POSITION_MALFORMED',
  'The id to go on after is not one of the live feed.',
  400
)
export const FeedOff = createError(
  'FEED_OFF',
  'The live feed is switched off here: start the service with FEED_CLIENTS_MAX above 0.',
  404
)
export const FeedPositionGone = createError(
  'FEED_POSITION_GONE',
  'The topic does not have what follows this id any more. Listen without an id, and read the orders since with createdFrom.',
  410
)
export const FeedFull = createError(
  'FEED_FULL',
  'This process has as many clients of the live feed as it takes. Try again.',
  503
)
export const FeedUnavailable = createError(
  'FEED_UNAVAILABLE',
  'The live feed is unavailable: Kafka does not answer, or this process has none or is ending. Try again.',
  503
)
export const Overloaded = createError(
  'OVERLOADED',
  'The service is overloaded. Nothing was stored by this request; try again.',
  503
)
export const NotStored = createError(
  'NOT_STORED',
  'The database takes no orders at present. Nothing was stored by this request; try again.',
  503
)
export const OutcomeUnknown = createError(
  'OUTCOME_UNKNOWN',
  'The database did not confirm the order in time. It may or may not be stored.',
  503
)
export const IndexMissing = createError<[string]>(
  'INDEX_MISSING',
  'The database has no index for %s yet. Try again.',
  503
)
export const StoreUnavailable = createError('STORE_UNAVAILABLE', 'The database does not answer. Try again.', 503)

/** Why the service can't start, in one line that says what to do. src/index.ts prints it and exits. */
export class StartupError extends Error {
  override name = 'StartupError'
}
