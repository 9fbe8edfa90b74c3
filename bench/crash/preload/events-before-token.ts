/** A lie for the checker: who dies in between has events that the next leader sends again. */
import { splitTransactions } from './split.ts'

splitTransactions('events')
