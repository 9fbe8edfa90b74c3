/** What a part tells when it has to be fetched first. */
export interface Fetching {
  begin (title: string): void
  /** The latest that the tool at work printed. */
  line (text: string): void
}

export interface Job {
  name: string
  /** Resolves to where the part is to be found, rejects with why it could not be had. */
  run (fetching: Fetching): Promise<string>
}

/** Runs all jobs at once and reports them on stderr; failures too, which are left to the caller. */
export async function runJobs (jobs: Job[], progress: 'visible' | 'silent'): Promise<void> {
  if (progress === 'silent') await Promise.allSettled(jobs.map((job) => job.run({ begin () {}, line () {} })))
  else if (process.stderr.isTTY) await runWithSpinners(jobs)
  else await Promise.all(jobs.map(runWithLines))
}

export const fetchTitle = (what: string, megabytes: number) => `fetching ${what} (${megabytes} MB, once)`

function stopwatch () {
  const begun = performance.now()
  return () => `${((performance.now() - begun) / 1000).toFixed(1)} s`
}

async function runWithLines ({ name, run }: Job) {
  const elapsed = stopwatch()
  const tell = (text: string) => process.stderr.write(`local ${name}: ${text}\n`)
  tell('starting')
  await run({ begin: tell, line () {} })
    .then((place) => tell(`ready on ${place} (${elapsed()})`), (error: Error) => tell(error.message))
}

async function runWithSpinners (jobs: Job[]) {
  const { Listr, ListrLogger, ProcessOutput } = await import('listr2')
  // stdout belongs to what the caller prints, so all of this goes to stderr.
  const logger = new ListrLogger({ processOutput: new ProcessOutput(process.stderr, process.stderr) })
  await new Listr(
    jobs.map(({ name, run }) => ({
      title: `local ${name}`,
      async task (_context, task) {
        const elapsed = stopwatch()
        const place = await run({
          begin (title) {
            task.title = `local ${name}: ${title}`
          },
          line (text) {
            task.output = text
          }
        })
        task.title = `local ${name}: ${place} (${elapsed()})`
      }
    })),
    {
      concurrent: true,
      exitOnError: false,
      registerSignalListeners: false,
      rendererOptions: { logger, collapseErrors: false }
    }
  ).run()
}
