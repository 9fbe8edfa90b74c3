import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'

export type Proxy = Awaited<ReturnType<typeof startProxy>>

/** Stands before a part or a service, so that its connections can be cut while both ends live. */
export async function startProxy (port: number) {
  const cuts = new Set<() => void>()
  let closed = false
  const server = createServer({ noDelay: true }, (client) => {
    if (closed) return client.destroy()
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true })
    const cut = (): void => {
      cuts.delete(cut)
      client.destroy()
      upstream.destroy()
    }
    cuts.add(cut)
    client.pipe(upstream)
    upstream.pipe(client)
    for (const socket of [client, upstream]) socket.on('close', cut).on('error', cut)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  function cut (): void {
    for (const end of [...cuts]) end()
  }

  return {
    port: (server.address() as AddressInfo).port,
    /** Ends every connection of this moment. */
    cut,
    /** Ends them and every new one, until `open`. */
    close (): void {
      closed = true
      cut()
    },
    open (): void { closed = false },
    end (): void {
      server.close()
      cut()
    }
  }
}
