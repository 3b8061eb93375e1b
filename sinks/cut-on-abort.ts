/** How a sink with one connection obeys an AbortSignal. */

/** An abort cuts the connection, which ends whatever waits for the server. */
export async function cutOnAbort<T>(signal: AbortSignal, cut: AbortController, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted()
  const abort = () => cut.abort(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await work()
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
