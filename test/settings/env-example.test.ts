import { spawnSync } from 'node:child_process'
import t from 'tap'
import { readFileSync } from 'node:fs'
import { SettingsSchema } from '../../schemas/settings.ts'

t.test('.env.example has every setting with its description and default, in the order of the schema', async (t) => {
  const lines = readFileSync('.env.example', 'utf8').split('\n').filter((line) => line !== '')
  const written = lines.flatMap((line, index) => {
    const setting = /^([A-Z_]+)=(.*)$/.exec(line)
    return setting === null ? [] : [{ description: lines[index - 1]!, name: setting[1], value: setting[2] }]
  })
  t.strictSame(written, Object.entries(SettingsSchema.properties).map(([name, schema]) => (
    { description: `# ${schema.description}`, name, value: String(schema.default) })))
  t.strictSame(lines.filter((line) => !line.startsWith('# ') && !/^[A-Z_]+=/.test(line)), [], 'and nothing else')
})

t.test('a shell reads it too', async (t) => {
  t.equal(spawnSync('sh', ['-euc', '. ./.env.example && echo "$GATEWAY_USER"'], { encoding: 'utf8' }).stdout, 'user:_id\n')
})

t.test('the documentation has the same settings', async (t) => {
  const rows = readFileSync('docs/reference/settings.md', 'utf8').split('\n').filter((line) => /^\| `[A-Z_]+` \|/.test(line))
  t.strictSame(rows, Object.entries(SettingsSchema.properties).map(([name, schema]) => (
    `| \`${name}\` | ${schema.default === '' ? '' : `\`${schema.default}\``} | ${schema.description} |`)))
})
