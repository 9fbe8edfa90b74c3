import t from 'tap'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import * as errors from '../../src/errors.ts'

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md')).map((name) => join('docs', name))
]

t.test('every link of the documentation leads somewhere', async (t) => {
  const links = pages.flatMap((page) =>
    [...readFileSync(page, 'utf8').matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, link]) => ({ page, link: link! })))
  t.ok(links.length > 80)
  const broken = links.filter(({ page, link }) => !/^https?:/.test(link) && !existsSync(join(dirname(page), link)))
  t.strictSame(broken, [])
})

t.test('every file that the documentation names is there', async (t) => {
  const names = pages.flatMap((page) =>
    [...readFileSync(page, 'utf8').matchAll(/`((?:src|plugins|routes|schemas|test|tools|bench|local|docs|deploy)\/[\w./-]+)`/g)]
      .map(([, name]) => ({ page, name: name! })))
  t.strictSame(names.filter(({ name }) => !existsSync(name)), [])
})

t.test('the page of errors has the codes of the catalogue, and no others', async (t) => {
  const { StartupError: _notOverHttp, ...catalogue } = errors
  const declared = Object.values(catalogue).map((one) => Reflect.construct(one, ['', '']).code as string)
  // Those of the framework and of what never became a request, in our words.
  const others = ['plugins/problems.ts', 'plugins/http.ts', 'src/process/broken-connection.ts'].flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/'([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)'/g)].map(([, code]) => code!))
  const known = new Set([...declared, ...others].filter((code) => !/^(FST|ERR|HPE|ECONN|ERROR$)/.test(code)))
  const rows = readFileSync('docs/reference/errors.md', 'utf8').split('\n').filter((line) => /^\| \d{3} \|/.test(line))
  const named = rows.flatMap((row) => [...row.split('|')[2]!.matchAll(/`([A-Z0-9_]+)`/g)].map(([, code]) => code!))
  t.strictSame(named.toSorted(), [...known].sort())
})
