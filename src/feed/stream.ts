import { Readable } from 'node:stream'

/** `Readable.from` would wait for the generator before it says that it was destroyed, and the generator for events. */
export function streamOf (chunks: AsyncGenerator<Buffer>, ended: () => void): Readable {
  return new Readable({
    read () {
      chunks.next().then(({ value }) => this.push(value ?? null), (error) => this.destroy(error))
    },
    destroy (error, done) {
      ended()
      chunks.return(undefined).catch(() => {})
      done(error)
    }
  })
}
