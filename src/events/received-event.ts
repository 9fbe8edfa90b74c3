import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { KafkaMessage } from 'kafkajs'
import {
  OrderEventHeadersSchema,
  OrderEventSchema,
  type OrderEvent,
  type OrderEventHeaders
} from '../../schemas/event.ts'

const checkEvent = TypeCompiler.Compile(OrderEventSchema)
const checkHeaders = TypeCompiler.Compile(OrderEventHeadersSchema)

/** An event as a subscriber gets it. */
export interface ReceivedOrderEvent {
  event: OrderEvent
  /** CloudEvents attributes and traceparent. `ce_id` is the order's id: the key for deduplication. */
  headers: OrderEventHeaders
  partition: number
  offset: string
}

/** @returns the event, or in words why the record is none */
export function receive (message: KafkaMessage, partition: number): ReceivedOrderEvent | string {
  let event: unknown
  try {
    event = JSON.parse(message.value?.toString() ?? '')
  } catch {
    return 'its value is not JSON'
  }
  const headers = Object.fromEntries(
    Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)])
  )
  if (!checkEvent.Check(event)) {
    return `its value: ${checkEvent.Errors(event).First()?.path} ${checkEvent.Errors(event).First()?.message}`
  }
  if (!checkHeaders.Check(headers)) {
    return `its headers: ${checkHeaders.Errors(headers).First()?.path} ${checkHeaders.Errors(headers).First()?.message}`
  }
  if (String(message.key) !== event.orderId || headers.ce_id !== event.orderId || event.payload._id !== event.orderId) {
    return 'its key, ce_id and order id differ'
  }
  return { event, headers, partition, offset: message.offset }
}
