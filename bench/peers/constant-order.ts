import type { Order } from '../../schemas/order.ts'

/** What the ceilings answer, whatever they are asked for: as long as the orders that are read elsewhere. */
export const CONSTANT_ORDER: Order = {
  _id: '6b02f71bd04988095b555726',
  userId: 'buyer-1234',
  products: [{ _id: 'product-123', quantity: 1 }, { _id: 'product-45', quantity: 2 }],
  createdAt: '2026-01-01T00:00:00.000Z',
  updatedAt: '2026-01-01T00:00:00.000Z'
}
