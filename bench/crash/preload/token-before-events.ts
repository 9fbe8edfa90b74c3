/** A lie for the checker: who dies in between has events that nobody will send. */
import { splitTransactions } from './split.ts'

splitTransactions('checkpoint')
