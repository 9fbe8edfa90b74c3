import { Redis } from 'ioredis'
import { MongoClient } from 'mongodb'
import { startGenerator, type Generator } from '../load/generator.ts'
import { atEnd, startParts } from '../rig/parts.ts'
import { createTopics, type Topics } from './topics.ts'

/** What all runs share: the parts, a generator, and what was settled beforehand. */
export interface Stage {
  dir: string
  urls: { mongo: string, redis: string, kafka: string }
  mongo: MongoClient
  redis: Redis
  topics: Topics
  generator: Generator
  /** How long a phase takes, and what comes before it so that code is compiled and pools are filled. */
  phaseMs: number
  warmUpMs: number
  quick: boolean
  /** A median of what was measured so far, or undefined. */
  measured: (measurement: string, contestant: string, figure: string) => number | undefined
}

export async function prepareStage (
  dir: string,
  options: Pick<Stage, 'phaseMs' | 'warmUpMs' | 'quick' | 'measured'>
): Promise<Stage> {
  const { urls } = await startParts({ dir, fresh: true })
  const mongo = await new MongoClient(urls.mongo!).connect()
  atEnd(() => mongo.close())
  const redis = new Redis(urls.redis!)
  atEnd(async () => redis.disconnect())
  const topics = createTopics(urls.kafka!)
  await topics.connect()
  atEnd(() => topics.disconnect())
  return { dir, urls: urls as Stage['urls'], mongo, redis, topics, generator: startGenerator(), ...options }
}
