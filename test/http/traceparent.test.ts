import t from 'tap'
import { isTraceparent, traceparentOf } from '../../src/traceparent.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'
const ids = `${TRACE}-${SPAN}`

const kept: [header: string, passedOn: string, what: string][] = [
  [`00-${ids}-01`, `00-${ids}-01`, 'version 00'],
  [`00-${ids}-00`, `00-${ids}-00`, 'which is not sampled'],
  [`00-${ids}-ff`, `00-${ids}-ff`, 'with flags that only its sender knows'],
  [`01-${ids}-01`, `00-${ids}-01`, 'a later version of the same length'],
  [`01-${ids}-01-more`, `00-${ids}-01`, 'a longer one'],
  [`cc-${ids}-01-what-the-future-will-be-like`, `00-${ids}-01`, 'whatever it may bring'],
  [`01-${ids}-01-`, `00-${ids}-01`, 'be it nothing'],
  [`01-${ids}-00-more`, `00-${ids}-00`, 'a later one that is not sampled'],
  [`fe-${ids}-09`, `00-${ids}-01`, 'of whose flags only the sampled one is passed on'],
  [`fe-${ids}-0a-more`, `00-${ids}-00`, 'if it is set']
]
for (const [header, passedOn, what] of kept) {
  t.test(`${what} keeps its ids: ${header}`, async (t) => {
    t.equal(traceparentOf(header), passedOn)
    t.ok(isTraceparent(passedOn))
  })
}

const replaced: [header: string | string[] | undefined, what: string][] = [
  [undefined, 'none'],
  ['', 'nothing'],
  [[`00-${ids}-01`, `00-${ids}-01`], 'two'],
  [`00-${ids}-01-more`, 'version 00 with a tail'],
  [`00-${ids}-01-`, 'version 00 with a dash at its end'],
  [`ff-${ids}-01`, 'version ff'],
  [`ff-${ids}-01-more`, 'version ff with a tail'],
  [`cc-${ids}-09.`, 'a tail without a dash'],
  [`01-${ids}-011`, 'three digits of flags'],
  [`01-${ids}-0`, 'one digit of flags'],
  [`01-${ids}`, 'no flags'],
  [`01-${ids}-01-more, 01-${ids}-01-more`, 'two that Node has joined'],
  [`01-${ids.toUpperCase()}-01`, 'upper case'],
  [`0A-${ids}-01-more`, 'upper case in its version'],
  [`01-${'0'.repeat(32)}-${SPAN}-01-more`, 'a trace id of zeros'],
  [`01-${TRACE}-${'0'.repeat(16)}-01-more`, 'a span id of zeros'],
  [`01-${ids}-0g-more`, 'flags that are no hexadecimal number']
]
for (const [header, what] of replaced) {
  t.test(`${what} is replaced by a new traceparent: ${String(header)}`, async (t) => {
    const made = traceparentOf(header)
    t.match(made, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/)
    t.notMatch(made, TRACE)
    t.ok(isTraceparent(made))
  })
}
