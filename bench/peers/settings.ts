/** What a peer is given, under the names that the service uses. */
const { PORT, MONGO_URL, REDIS_URL, KAFKA_BROKERS, KAFKA_TOPIC, LOG_LEVEL } = process.env

export const settings = {
  port: Number(PORT),
  host: '127.0.0.1',
  mongoUrl: MONGO_URL!,
  redisUrl: REDIS_URL!,
  brokers: KAFKA_BROKERS!.split(','),
  topic: KAFKA_TOPIC!,
  logLevel: LOG_LEVEL ?? 'warn'
}

export const CACHE_SECONDS = 60

/** As a process manager would end it. */
export function endOnSignal (close: () => Promise<unknown>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      close().finally(() => process.exit(0))
    })
  }
}
