import axios from 'axios'
import type { NewOrder, Order } from '../schemas/order.ts'
import type { Problem } from '../schemas/problem.ts'

/* How a gateway calls the service with Axios: `node dist/examples/gateway.js` beside a running `npm start`. */

const orders = axios.create({ baseURL: process.env.ORDERS_URL ?? 'http://localhost:8002/orders', timeout: 12_000 })

const newOrder: Omit<NewOrder, 'userId'> = { products: [{ _id: 'product-1', quantity: 2 }] }
const { data: created, headers } = await orders.post<Order>('/', newOrder, { headers: { 'x-user-id': 'user-1' } })
console.log('created', created, headers.location)

const { data: read } = await orders.get<Order>(`/${created._id}`)
console.log('read', read)

const { data: all } = await orders.get<Order[]>('/')
console.log('all', all.length)

try {
  await orders.post('/', { userId: 'user-1', products: [{ _id: 'product-1', quantity: '2' }] })
} catch (error) {
  if (!axios.isAxiosError<Problem>(error) || error.response === undefined) throw error
  const { status, message, errors } = error.response.data
  console.log('refused', status, message, errors)
}
