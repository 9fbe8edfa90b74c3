import t from 'tap'
import { audit } from '../../tools/audit-run.ts'
import { startPosting, storedIds } from '../support/faults.ts'
import { collectEvents, eventually, post, startService } from '../helper.ts'
import { run } from '../support/tools.ts'

t.test('an audit ends though orders that the relay has yet to come to are posted all the time', async (t) => {
  const first = await startService(t)
  await eventually(() => first.api.relay?.leads, 30_000, 'a leader')
  const { body: { _id } } = await post(first.url)
  await (await collectEvents(t, first.namespace)).forOrders([_id])
  await first.close()
  const away = await startService(t, { KAFKA_BROKERS: 'off' }, first.namespace)
  const posting = startPosting(t, () => away.url, 4)
  await eventually(() => posting.told.length > 50, 20_000, 'some orders')
  const before = storedIds(posting.told).length

  const { code, out, err } = await run(
    audit,
    first.namespace,
    ['--json', '--grace', '0'],
    {},
    AbortSignal.timeout(20_000)
  )
  t.equal(code, 0, err)
  const { missing, pending } = JSON.parse(out)
  const during = posting.told.length
  await eventually(() => posting.told.length > during + 10, 10_000, 'orders after it')
  await posting.stop()
  t.equal(missing.count, 0)
  t.ok(pending.count >= before, `${pending.count} of ${before} and more`)
})
