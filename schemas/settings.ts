import { Type, type Static } from '@sinclair/typebox'

const BROKER = '([^\\s,:/@?#\\[\\]]+|\\[[^\\s,\\[\\]]+\\]):[0-9]{1,5}'
const BROKERS = `^(off|${BROKER}([\\s,]+${BROKER})*)?$`

/**
 * Every setting of the service. Names, defaults, bounds and docs are here and nowhere else; `.env.example` is held to
 * it by a test.
 */
export const SettingsSchema = Type.Object({
  HOST: Type.String({
    default: '::',
    minLength: 1,
    description:
      'address or name to listen on, at all addresses of a name; :: is IPv6 and IPv4 (0.0.0.0 where there is no IPv6)'
  }),
  PORT: Type.Integer({ default: 8002, minimum: 0, maximum: 65535, description: 'port of the API' }),
  METRICS_PORT: Type.Integer({
    default: 9202,
    minimum: 0,
    maximum: 65535,
    description: 'port of /metrics, /livez and /readyz'
  }),
  WORKERS: Type.Integer({
    default: 1,
    minimum: 1,
    maximum: 256,
    description: 'processes that serve PORT, one for each core; 1 = this process alone'
  }),
  MONGO_URL: Type.String({
    default: '',
    pattern: '^(mongodb(\\+srv)?://.+)?$',
    description: 'mongodb:// or mongodb+srv:// of a replica set; empty = a local MongoDB'
  }),
  REDIS_URL: Type.String({
    default: '',
    pattern: '^(off|rediss?://.+)?$',
    description: 'redis:// or rediss://; empty = a local Redis, off = no Redis'
  }),
  KAFKA_BROKERS: Type.String({
    default: '',
    pattern: BROKERS,
    description:
      'host:port or [IPv6]:port, with comma or space between brokers; empty = a local Kafka, off = no relay in this process'
  }),
  KAFKA_TLS: Type.Union(
    ['off', 'on'].map((tls) => Type.Literal(tls)),
    { default: 'off', description: 'off, or on: TLS to the brokers; NODE_EXTRA_CA_CERTS names a CA of your own' }
  ),
  KAFKA_SASL: Type.Union(
    ['off', 'plain', 'scram-sha-256', 'scram-sha-512'].map((mechanism) => Type.Literal(mechanism)),
    { default: 'off', description: 'off, plain, scram-sha-256 or scram-sha-512' }
  ),
  KAFKA_USER: Type.String({ default: '', description: 'user, when KAFKA_SASL is not off' }),
  KAFKA_PASSWORD: Type.String({ default: '', description: 'password, when KAFKA_SASL is not off' }),
  KAFKA_TOPIC: Type.String({
    default: 'order-events',
    pattern: '^(?!\\.{1,2}$)[a-zA-Z0-9._-]{1,200}$',
    description: "topic of the order events; the relay's own names are derived from it"
  }),
  KAFKA_TOPIC_PARTITIONS: Type.Integer({
    default: 6,
    minimum: 1,
    maximum: 1000,
    description: 'partitions, where the topic has to be created'
  }),
  KAFKA_TOPIC_REPLICATION: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 15,
    description:
      'replicas of each partition, where a topic has to be created; 0 = as the brokers say (default.replication.factor), which should be 3'
  }),
  RELAY_UNKNOWABLE: Type.Union(
    ['wait', 'send', 'skip'].map((choice) => Type.Literal(choice)),
    {
      default: 'wait',
      description:
        'wait, send or skip: orders of which nobody can know whether they were published; start all processes with it; send may publish them twice, skip never'
    }
  ),
  GATEWAY_URL: Type.String({
    default: '',
    pattern: '^(https?://.+)?$',
    description: "http:// or https:// of the shop's GraphQL gateway, to ask it about the users and products of orders; empty = not asked"
  }),
  GATEWAY_CHECK: Type.Union(
    ['warn', 'refuse', 'require'].map((check) => Type.Literal(check)),
    {
      default: 'warn',
      description: 'warn, refuse or require: unknown users and products are logged, or refused; require also refuses while the gateway does not say'
    }
  ),
  GATEWAY_USER: Type.String({
    default: 'user:_id',
    pattern: '^(off|\\w+:\\w+)$',
    description: "field and argument of the gateway's query for a user, or off"
  }),
  GATEWAY_PRODUCT: Type.String({
    default: 'product:id',
    pattern: '^(off|\\w+:\\w+)$',
    description: "field and argument of the gateway's query for a product, or off"
  }),
  GATEWAY_TIMEOUT_MS: Type.Integer({
    default: 300,
    minimum: 10,
    maximum: 10_000,
    description: 'ms until the gateway must have answered'
  }),
  GATEWAY_BATCH: Type.Integer({
    default: 15,
    minimum: 1,
    maximum: 250,
    description: 'users and products in one query, as aliases: gateways limit them'
  }),
  RESPONSE_ENVELOPE: Type.Union(
    ['', 'off', 'result'].map((envelope) => Type.Literal(envelope)),
    { default: 'off', description: 'off, or result: success bodies as {"result": …}' }
  ),
  ETAG: Type.Union(
    ['off', 'on'].map((etag) => Type.Literal(etag)),
    { default: 'off', description: 'off, or on: one order has an ETag, and If-None-Match is answered with 304' }
  ),
  COMPRESSION: Type.Union(
    ['off', 'on'].map((compression) => Type.Literal(compression)),
    {
      default: 'off',
      description: 'off, or on: lists of 16 KiB or more are compressed for who accepts gzip or br; costs CPU, saves bytes'
    }
  ),
  DOCS: Type.Union(
    ['auto', 'on', 'off'].map((docs) => Type.Literal(docs)),
    {
      default: 'auto',
      description: 'auto, on or off: the page /docs and /openapi.json; auto = on, unless NODE_ENV is production'
    }
  ),
  LOG_LEVEL: Type.Union(
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'].map((level) => Type.Literal(level)),
    { default: 'info', description: 'fatal, error, warn, info, debug, trace or silent' }
  ),
  NODE_ENV: Type.String({
    default: 'development',
    description: 'production never starts local parts: a missing URL is then an error'
  }),
  LOCAL_DIR: Type.String({ default: '.local', minLength: 1, description: 'folder for the data of the local parts' }),
  CACHE_BYTES_MAX: Type.Integer({
    default: 67_108_864,
    minimum: 0,
    maximum: 17_179_869_184,
    description: 'bytes of orders held in this process; 0 = none'
  }),
  ORDER_INDEXES: Type.Union(
    ['off', 'user', 'product', 'all'].map((indexes) => Type.Literal(indexes)),
    {
      default: 'off',
      description: 'off, user, product or all: indexes for the parameters userId and productId of a list, which each POST pays for'
    }
  ),
  REDIS_TTL_SECONDS: Type.Integer({
    default: 60,
    minimum: 1,
    maximum: 86_400,
    description: 'seconds an order stays in Redis'
  }),
  IDEMPOTENCY_HOURS: Type.Integer({
    default: 24,
    minimum: 24,
    maximum: 87_600,
    description: 'hours an Idempotency-Key is kept'
  }),
  POSTS_MAX: Type.Integer({
    default: 2_000,
    minimum: 1,
    maximum: 100_000,
    description: 'orders in flight; one more is refused with 503'
  }),
  POST_WAIT_MS_MAX: Type.Integer({
    default: 100,
    minimum: 1,
    maximum: 10_000,
    description: 'ms: orders that would wait longer at the present pace are refused with 503, beyond 256 in flight'
  }),
  LISTS_MAX: Type.Integer({
    default: 32,
    minimum: 1,
    maximum: 10_000,
    description: 'lists of all orders at the same time; one more is refused with 503'
  }),
  FEED_CLIENTS_MAX: Type.Integer({
    default: 250,
    minimum: 0,
    maximum: 10_000,
    description: 'clients of the live feed in this process; one more is refused with 503; 0 = no live feed'
  }),
  EVENT_LOOP_DELAY_MS_MAX: Type.Integer({
    default: 1_000,
    minimum: 0,
    maximum: 60_000,
    description:
      'ms by which the event loop is late on average; above it all requests are refused with 503; 0 = no limit'
  }),
  DRAIN_MS: Type.Integer({
    default: 0,
    minimum: 0,
    maximum: 600_000,
    description:
      'ms after SIGTERM in which new connections are still taken, while /readyz says unready: as long as a load balancer needs to notice; 0 = none'
  }),
  CLOSE_DELAY_MS: Type.Integer({
    default: 9_000,
    minimum: 100,
    maximum: 600_000,
    description: 'ms for a clean shutdown before it is forced'
  })
})
export type Settings = Static<typeof SettingsSchema>
