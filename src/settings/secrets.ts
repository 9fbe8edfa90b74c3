/*
 * What libraries and parts put into an error's text that no log may hold: the user and password of a URL, the
 * arguments of a command (Redis repeats those of an AUTH that it doesn't know), and what is in an order (MongoDB's
 * duplicate key, the text that JSON.parse fails at).
 */
const SECRETS: [pattern: RegExp, instead: string][] = [
  [/\b([a-z][a-z0-9+.-]*:\/\/)\S*@/gi, '$1…@'],
  [/(with args beginning with:)[^\n]*/g, '$1 …'],
  [/(dup key:)[^\n]*/g, '$1 …'],
  [/(?:\.\.\.)?"[^\n]*"(?:\.\.\.)?( is not valid JSON)/g, '…$1']
]

export function withoutSecrets (text: string): string {
  return SECRETS.reduce((left, [pattern, instead]) => left.replaceAll(pattern, instead), text)
}
