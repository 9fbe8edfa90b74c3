import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium as playwright, type Browser } from 'playwright-core'
import type { Test } from 'tap'

/* A real headless Chromium out of an npm package, so that nothing has to be installed for it. */

/** Makes the package unpack the libraries that a machine without a desktop may lack, and sets the path to them. */
const WITH_LIBRARIES = { AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs20.x' }

export async function openBrowser (t: Test): Promise<Browser> {
  const folder = await mkdtemp(join(tmpdir(), 'chromium-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const before = { ...process.env }
  // The package unpacks into the folder for temporary files, and takes what it finds there.
  Object.assign(process.env, { TMPDIR: folder, ...WITH_LIBRARIES })
  try {
    const { default: chromium } = await import('@sparticuz/chromium')
    const executablePath = await chromium.executablePath()
    const launch = (env: NodeJS.ProcessEnv): Promise<Browser> =>
      playwright.launch({ executablePath, args: ['--no-sandbox'], env: env as Record<string, string> })
    const browser = await launch({ ...before, TMPDIR: folder }).catch(() => launch({ ...process.env }))
    t.teardown(() => browser.close())
    return browser
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name]
    Object.assign(process.env, before)
  }
}
