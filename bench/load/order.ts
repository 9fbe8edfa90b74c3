import type { NewOrder } from '../../schemas/order.ts'

/** The orders of the benchmark, written and read alike: ids in ASCII, as shops give them, and two lines. */
export function orderOf (n: number): NewOrder {
  return {
    userId: `buyer-${n}`,
    products: [
      { _id: `product-${n % 1_000}`, quantity: 1 },
      { _id: `product-${n % 77}`, quantity: 2 }
    ]
  }
}
