import { tables, table, type Report } from './markdown.ts'

/** docs/records/benchmark.md. Every figure in it comes from the run that wrote it. */
export function document (report: Report, hasChart: boolean): string {
  return `# Benchmark

Written by \`npm run bench -- --write\`; nothing here is typed by hand.

${report.header.map((line) => `- ${line}`).join('\n')}

Generator, contestant, MongoDB (a replica set of one), Redis and Kafka share this machine, so absolute figures say little elsewhere.
Contestants take turns within each round; a ratio is the median of the ratios of the rounds, a figure the median of the rounds.
One process at a time, all with the same parts, an empty database and a topic with six partitions of their own, and an empty Redis.
After each run with POSTs the documents and the records on the topic, as a reader of committed records sees them, must be the orders
that were answered with 201, each once; a run in which they are not, or in which any answer is another than 201 or 200, fails.
CPU is that of the contestant's process; for POSTs until the last event is on the topic. An open loop's latencies count from when a
request was due.

## Who takes part

All fulfil the same contract: a POST is answered with 201 after a write with \`w: majority, j: true\`, each order is an event on Kafka
(acks=all), single orders are cached in Redis for a minute, the list is one JSON array. Settings are the libraries' defaults.

${table(
  ['name', 'what', 'what a client may rely on'],
  report.contestants.map(({ name, title, promises }) => [name, title, promises])
)}

## What is demanded, and what is reached

${hasChart ? '![Medians per second](benchmark.svg)\n\n' : ''}${tables(report)}
`
}
