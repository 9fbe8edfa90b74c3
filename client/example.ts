import { createOrdersClient, problemOf, type NewOrder } from 'order-service-client'

const orders = createOrdersClient({ baseURL: process.env.ORDERS_URL ?? 'http://localhost:8002' })
const newOrder: NewOrder = { userId: 'user-1', products: [{ _id: 'product-1', quantity: 2 }] }
try {
  const order = await orders.create(newOrder)
  console.log('created', order._id)
  const { value: youngest } = await orders.list({ order: 'desc', limit: 1 }).next()
  console.log('youngest', youngest?._id)
  const [found, unknown] = await orders.many([order._id, 'f'.repeat(24)])
  console.log('found', found?._id, unknown?._id)
} catch (error) {
  console.error(problemOf(error) ?? error)
}
