/**
 * Waits for the first item, at most `maxMs`, and gives back a sequence that begins with it. Rejects
 * if the first thing that comes is an error: then nothing has been sent, and a status still can be.
 */
export async function withFirst<T>(
  items: AsyncIterable<T>,
  maxMs: number,
): Promise<AsyncIterable<T>> {
  const iterator = items[Symbol.asyncIterator]()
  const first = iterator.next()
  // Somebody may leave before it is read again.
  first.catch(() => {})
  let timer: NodeJS.Timeout | undefined
  const isOver = new Promise((resolve) => {
    timer = setTimeout(resolve, maxMs)
  })
  try {
    await Promise.race([first, isOver])
  } finally {
    clearTimeout(timer)
  }
  return startingWith(first, iterator)
}

async function* startingWith<T>(
  first: Promise<IteratorResult<T>>,
  iterator: AsyncIterator<T>,
): AsyncGenerator<T, void> {
  try {
    for (let item = await first; item.done !== true; item = await iterator.next()) yield item.value
  } finally {
    // A reader that breaks off ends the generation, as if it had read the items themselves.
    await iterator.return?.()
  }
}
