import { createHash } from 'node:crypto'
import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Binary } from './binary.ts'
import { cachedFolder } from './cache.ts'
import { JAVA_VERSION_MIN, findJava } from './java.ts'
import { POM, VERSION } from './kafka-config.ts'
import { type KafkaPrograms, kafkaRecipe } from './kafka.ts'
import { startPart } from './part.ts'
import { FETCH_LIMIT_MS } from './pip.ts'
import { releasePorts } from './ports.ts'
import { signal } from './processes.ts'
import { type Fetching, fetchTitle } from './progress.ts'
import { type Env, run } from './run.ts'

const FETCH_MB = 43
const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies'

/** The least that needs no ZooKeeper and knows all the settings that it is given. */
const MAJOR_VERSION_MIN = 4

export async function findKafka (env: Env, fetching: Fetching): Promise<KafkaPrograms> {
  try {
    const java = await findJava(env, fetching)
    const libs = await findLibs(java.file, env, fetching)
    return { java: java.file, libs, classes: await archiveClasses(java, libs, env, fetching) }
  } catch (error) {
    throw new Error(
      `no Kafka, and none could be fetched (${(error as Error).message}): install Maven and Java ${JAVA_VERSION_MIN} or later, set KAFKA_HOME to the folder of a Kafka ${MAJOR_VERSION_MIN}, or set KAFKA_BROKERS`
    )
  }
}

async function findLibs (java: string, env: Env, fetching: Fetching): Promise<string> {
  for (const libs of env.KAFKA_HOME ? [join(env.KAFKA_HOME, 'libs'), env.KAFKA_HOME] : []) {
    const names = await readdir(libs).catch(() => [])
    const version = names.map((name) => /^kafka_2\.\d+-(\d+)[.\d]*\.jar$/.exec(name)?.[1]).find(Boolean)
    if (Number(version) >= MAJOR_VERSION_MIN) return libs
  }
  const folder = await cachedFolder(`kafka-${VERSION}`, env, async (into) => {
    fetching.begin(fetchTitle(`Kafka ${VERSION}`, FETCH_MB))
    await writeFile(join(into, 'pom.xml'), POM)
    // Maven runs on the same Java: the only one that is there may be the fetched one, and JAVA_HOME may name one that
    // won't do.
    const mavenEnv = { ...env, JAVA_HOME: isAbsolute(java) ? dirname(dirname(java)) : undefined }
    await run(
      'mvn',
      ['-B', '-Dstyle.color=never', COPY_DEPENDENCIES, '-DincludeScope=runtime', '-DoutputDirectory=libs'],
      { env: mavenEnv, cwd: into, limitMs: FETCH_LIMIT_MS, onLine: fetching.line }
    )
    await rm(join(into, 'pom.xml'))
  })
  return join(folder, 'libs')
}

/** Writing 50 MB of archive takes 2.5 s on an idle machine, longer than any other end may take on a busy one. */
const ARCHIVE_LIMIT_MS = 60_000
const ARCHIVE_POLL_MS = 50

/**
 * Nearly half of Kafka's start is the JVM loading 8,000 classes from jars. An archive of them, which a first run writes
 * when it ends, brings the start from 1.9 s to 1.1 s. It fits one Java and one set of jars; the JVM ignores one that
 * doesn't.
 */
async function archiveClasses (java: Binary, libs: string, env: Env, fetching: Fetching): Promise<string> {
  const fits = createHash('sha256').update(java.version).update(libs).digest('hex').slice(0, 12)
  const folder = await cachedFolder(`kafka-classes-${fits}`, env, async (into) => {
    fetching.begin('preparing Kafka (once)')
    const dir = join(into, 'run')
    const archive = join(dir, 'classes.jsa')
    await mkdir(dir)
    try {
      const part = await startPart(
        kafkaRecipe(dir, { java: java.file, libs }, env, { jvmArgs: [`-XX:ArchiveClassesAtExit=${archive}`] })
      )
      signal(part.pid, 'SIGTERM')
      for (const end = Date.now() + ARCHIVE_LIMIT_MS; !part.exited && Date.now() < end;) await sleep(ARCHIVE_POLL_MS)
      await part.stop()
      await copyFile(archive, join(into, 'classes.jsa'))
    } catch {
      // Without it Kafka starts as well; the folder stays, so that not every start tries again.
    } finally {
      releasePorts(dir)
      await rm(dir, { recursive: true, force: true })
    }
  })
  return join(folder, 'classes.jsa')
}
