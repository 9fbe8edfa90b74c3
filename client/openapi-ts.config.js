/** The types of client/, by `npm run openapi`. */
export default {
  input: 'openapi.json',
  output: { path: 'client/src/generated', clean: true },
  plugins: ['@hey-api/typescript'],
  logs: { level: 'silent' }
}
