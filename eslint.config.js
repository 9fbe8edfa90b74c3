import neostandard from 'neostandard'

export default [
  ...neostandard({ ts: true, ignores: ['dist', 'client/dist', 'client/src/generated', '.tap', '.local'] }),
  {
    rules: {
      '@stylistic/max-len': ['error', { code: 120, ignoreStrings: true, ignoreTemplateLiterals: true, ignoreRegExpLiterals: true, ignoreUrls: true }]
    }
  }
]
