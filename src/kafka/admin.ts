import type { Admin, Kafka } from 'kafkajs'
import { within } from '../runtime/deadline.ts'

const ANSWER_MS_MAX = 20_000

/**
 * Asks Kafka's admin, with a connection and a deadline of its own.
 * @param what is waited for, as in "Kafka's answer about the topic"
 */
export async function withAdmin<T> (kafka: Kafka, what: string, ask: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafka.admin()
  try {
    return await within(ANSWER_MS_MAX, what, admin.connect().then(() => ask(admin)))
  } finally {
    await admin.disconnect().catch(() => {})
  }
}
