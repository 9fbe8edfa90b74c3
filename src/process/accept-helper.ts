/* Sends the handle that it is given back as often as it is asked to; each time, the parent gets one more descriptor. */

process.on('disconnect', () => process.exit())
process.on('message', async (copies: number, handle) => {
  for (let n = 0; n < copies; n++) await new Promise((resolve) => { process.send!('', handle, {}, resolve) })
  process.disconnect()
})
