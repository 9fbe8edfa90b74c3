/** Why a tool stops, in one line that says what to do. The entry prints it; the exit code is 2. */
export class CannotRun extends Error {
  override name = 'CannotRun'
}
