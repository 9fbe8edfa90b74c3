import t from 'tap'
import { createAnswerReader } from '../../bench/load/answer-reader.ts'
import { MIXED } from '../../bench/measure/reads.ts'
import { POSTS_64 } from '../../bench/measure/posts.ts'
import { optionsFrom } from '../../bench/options.ts'
import { chart } from '../../bench/report/chart.ts'
import { tables } from '../../bench/report/markdown.ts'
import { ratioTo } from '../../bench/report/results.ts'
import { SERVICE } from '../../bench/measure/contestants.ts'

const ID = '6b02f71bd04988095b555726'
const BODY = `{"_id":"${ID}","products":[{"_id":"product-1"}]}`
const ANSWERS = Buffer.from([
  `HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{}, \r\nA\r\n{"a":"0"}]\r\n0\r\n\r\n',
  'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n',
  'HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}'
].join(''))

t.test('the load generator reports status, id and length of each answer, wherever the network cuts them', async (t) => {
  const expected = [[201, ID, BODY.length], [200, '', 15], [404, '', 0], [500, '', 2]]
  for (const size of [1, 2, 7, 50, 100, ANSWERS.length]) {
    const found: [number, string, number][] = []
    let firstBytes = 0
    const read = createAnswerReader(() => { firstBytes++ }, (...answer) => found.push(answer))
    for (let at = 0; at < ANSWERS.length; at += size) read(ANSWERS.subarray(at, at + size))
    t.strictSame(found, expected, `in pieces of ${size} bytes`)
    t.equal(firstBytes, expected.length)
  }
  t.throws(
    () =>
      createAnswerReader(
        () => {},
        () => {}
      )(Buffer.from('HTTP/1.1 200 OK\r\n\r\n')),
    'nothing tells where it ends'
  )
})

t.test("a ratio is the median of the rounds' own, to the best of the others", async (t) => {
  const of = (...values: (number | undefined)[]) =>
    values.map((perSecond) => (perSecond === undefined ? undefined : { perSecond }))
  const results = { mixed: { service: of(30, 10, 80), go: of(10, 5, undefined), express: of(15, 1, 10) } }
  t.equal(ratioTo(results, 'mixed', 'service', ['go', 'express'], 'perSecond'), 2, 'of 2, 2 and 8')
  t.equal(
    ratioTo(results, 'mixed', 'service', ['go'], 'perSecond'),
    2.5,
    'a round in which one is missing tells nothing'
  )
  t.equal(ratioTo(results, 'mixed', 'service', ['fastify'], 'perSecond'), undefined)
})

t.test('the report says what was not measured, and draws what was', async (t) => {
  const report = { results: {}, measurements: [POSTS_64], contestants: [SERVICE], header: [] }
  t.match(tables(report), /\| POST, 64 connections \| per second \| ≥ 4.00 × go \| – \| not measured \|/)
  t.equal(chart(report), undefined)
  const svg = chart({ ...report, results: { 'post-64': { service: [{ perSecond: 12_345 }] } } })
  t.match(svg, /^<svg [^]*12,345[^]*<\/svg>$/)
})

t.test('--only takes names, and what the named ones need', async (t) => {
  const all = [POSTS_64, { ...MIXED, needs: POSTS_64.name }]
  t.strictSame(optionsFrom(['--only', 'mixed'], all).measurements, all)
  t.throws(() => optionsFrom(['--only', 'fast'], all), /no measurement fast: post-64, mixed/)
  t.throws(() => optionsFrom(['--rounds', '1.5'], all), /--rounds must be an integer/)
})
