import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

/** What node is to import before the service: a file of preload/, by its name. */
export function preloaded (name: string): string {
  return pathToFileURL(resolve('dist', 'bench', 'crash', 'preload', `${name}.js`)).href
}
