import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'

/*
 * kafkajs arms a timer for each connection again and again, every millisecond, even when nothing waits: ≈ 4 % of a
 * core each, and a warning since Node 24, as its delay is negative. https://github.com/tulios/kafkajs/pull/1755.
 * Remove this once a release has it. Requests that wait only for a free place in flight are sent when an answer
 * comes; the timer matters for those that wait out a broker's throttling.
 */
const scheduleCheck = RequestQueue.prototype.scheduleCheckPendingRequests
RequestQueue.prototype.scheduleCheckPendingRequests = function () {
  if (this.pending.length > 0) scheduleCheck.call(this)
}
