/* `npm run openapi` writes openapi.json, which a test holds to the routes. */
import { writeFileSync } from 'node:fs'

const { describeApi } = await import('../dist/src/app.js')
writeFileSync(new URL('../openapi.json', import.meta.url), `${JSON.stringify(await describeApi(), null, 2)}\n`)
