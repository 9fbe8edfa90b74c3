import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/*
 * What can't be read as HTTP has no request, so a problem that says so goes to the socket as it is. But bytes that
 * can't be read may follow a request that can: then the client would take the problem for the answer to that one,
 * though its order is stored, or find it in the middle of a list.
 */

/**
 * Node doesn't document these two, but its own handler of such errors goes by the first as well (lib/_http_server.js).
 */
interface HttpSocket extends Socket {
  /** The answer that is under way; further ones wait for its end. */
  _httpMessage?: ServerResponse | null
  /** The request whose head came last. */
  parser?: { incoming: IncomingMessage | null } | null
}

/** What went wrong, as a problem says it. */
export type Defect = [status: number, code: string, detail: string]

const BROKEN: Record<string, Defect> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'REQUEST_TIMEOUT', 'The request did not arrive in time.'],
  HPE_HEADER_OVERFLOW: [431, 'HEADERS_TOO_LARGE', 'The head of the request is too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'BODY_TOO_LARGE', 'The chunk extensions are too large.']
}

const NOT_HTTP: Defect = [400, 'BAD_REQUEST', 'The request is not valid HTTP.']

/**
 * Connections that end once their answers are given. Node goes on parsing what they send, and each piece is an error
 * again.
 */
const ending = new WeakSet<Socket>()

/**
 * For `clientError`: answers with what broke if that can't be taken for another answer, and ends the connection after
 * the answers under way.
 * @param answer makes a whole HTTP answer of it
 */
export function endBrokenConnection (
  error: Error & { code?: string },
  socket: HttpSocket,
  answer: (...defect: Defect) => string
): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || ending.has(socket)) return
  ending.add(socket)
  if (canAnswer(socket)) socket.write(answer(...(BROKEN[error.code ?? ''] ?? NOT_HTTP)))
  endAfterAnswers(socket)
}

function canAnswer (socket: HttpSocket): boolean {
  if (!socket.writable || socket.bytesRead === 0) return false // a client that never asked expects no answer
  const [underWay, received] = [socket._httpMessage ?? undefined, socket.parser?.incoming ?? undefined]
  const halfReceived = received?.complete === false
  if (underWay === undefined) return !halfReceived // half a request without an answer under way has had its answer
  return halfReceived && underWay.req === received && !underWay.headersSent
}

function endAfterAnswers (socket: HttpSocket): void {
  const underWay = socket._httpMessage
  if (underWay?.req.complete === true) underWay.once('close', () => endAfterAnswers(socket))
  else socket.destroySoon()
}
