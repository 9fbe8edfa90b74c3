import { isIPv6 } from 'node:net'
import { MongoClient } from 'mongodb'

/*
 * What no pattern can say about the URLs, found out before anything is started or connected to. Nothing that these
 * throw quotes user or password, so a library's own words are kept only where they can't be about those.
 */

const ENCODE = 'user and password must be percent-encoded: % as %25, @ as %40, / as %2F, : as %3A, # as %23, ? as %3F'
/** RFC 3986's userinfo, and blanks, quotes and letters of all languages, which parsers encode anyway. */
const USER_INFO = /^(?:[^%:@/?#[\]\\]|%[0-9a-f]{2})*(?::(?:[^%:@/?#[\]\\]|%[0-9a-f]{2})*)?$/i

/** @throws Error that says what is wrong with it */
export function checkMongoUrl (url: string): void {
  try {
    const { options } = new MongoClient(url) // it does not connect yet
    decodeURIComponent(options.dbName)
  } catch (error) {
    throw new Error(hasRawUser(url) ? ENCODE : (error as Error).message)
  }
}

/** The options that a query may hold. With others ioredis would override the service's own limits, by strings. */
const REDIS_OPTIONS: Record<string, RegExp> = { family: /^[046]$/, db: /^\d+$/ }

/** @throws Error that says what is wrong with it */
export function checkRedisUrl (url: string): void {
  let parsed: URL
  try {
    parsed = new URL(url)
    decodeURIComponent(parsed.username)
    decodeURIComponent(parsed.password)
  } catch (error) {
    throw new Error(hasRawUser(url) ? ENCODE : 'it is no URL')
  }
  const { hostname, pathname, searchParams, hash } = parsed
  if (hash !== '' || /@/.test(pathname + parsed.search)) throw new Error(ENCODE)
  if (!/^(\[.+\]|[\w.-]+)$/.test(hostname)) throw new Error('it has no valid host')
  if (!/^(\/\d*)?$/.test(pathname)) {
    throw new Error('after the host only the number of a database can follow, as in redis://host:6379/2')
  }
  for (const [name, value] of searchParams) {
    if (REDIS_OPTIONS[name] === undefined) throw new Error(`the option ${name} is not supported`)
    if (!REDIS_OPTIONS[name].test(value)) throw new Error(`the option ${name} is wrong`)
  }
}

/** @throws Error that says what is wrong with it */
export function checkHttpUrl (url: string): void {
  try {
    const { username, password } = new URL(url)
    decodeURIComponent(username + password)
  } catch {
    throw new Error(hasRawUser(url) ? ENCODE : 'it is no URL')
  }
}

function hasRawUser (url: string): boolean {
  const userInfo = /^[^/]+:\/\/(.*)@/s.exec(url)?.[1]
  return userInfo !== undefined && !USER_INFO.test(userInfo)
}

/** @throws Error that says what is wrong with them */
export function checkBrokers (brokers: string): void {
  for (const broker of brokersIn(brokers)) {
    const [, host, ipv6, port] = /^(?:([^[\]]+)|\[(.+)\]):(\d+)$/.exec(broker) ?? []
    const isHost = ipv6 === undefined ? host !== undefined && /^[\p{L}\p{N}._-]+$/u.test(host) : isIPv6(ipv6)
    if (!isHost) throw new Error(`${broker} has no valid host`)
    if (!(Number(port) >= 1 && Number(port) <= 65_535)) throw new Error(`${broker} has no valid port`)
  }
}

export function brokersIn (brokers: string): string[] {
  return brokers.split(/[\s,]+/).filter((broker) => broker !== '')
}
