import t from 'tap'
import { aNewOrder, eventually, metric, post, request, startService } from './helper.ts'

function blockEventLoop (ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

t.test('an event loop that lags makes the API refuse, and the operations listener never', async (t) => {
  const service = await startService(t, { EVENT_LOOP_DELAY_MS_MAX: 20 })
  const { body: { _id } } = await post(service.url)
  await eventually(() => {
    blockEventLoop(100)
    return service.api.isUnderPressure()
  }, 10_000, 'pressure')
  const { statusCode, headers, body } = await service.api.inject({ method: 'POST', url: '/orders', payload: aNewOrder })
  t.match({ statusCode, type: headers['content-type'], retry: headers['retry-after'], code: JSON.parse(body).code },
    { statusCode: 503, type: 'application/problem+json', retry: /^[12]$/, code: 'OVERLOADED' })
  t.equal((await service.operations.inject('/livez')).statusCode, 200)
  t.equal(await metric(service, 'requests_shed_total{reason="event-loop"}'), 1)

  await eventually(() => !service.api.isUnderPressure(), 10_000, 'the end of the pressure')
  t.equal((await request(`${service.url}/orders/${_id}`)).status, 200)
})

t.test('0 is no limit', async (t) => {
  const service = await startService(t, { EVENT_LOOP_DELAY_MS_MAX: 0 })
  blockEventLoop(1_500)
  t.equal((await post(service.url)).status, 201)
  t.notOk(service.api.isUnderPressure())
})
