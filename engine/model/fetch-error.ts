/** Why a model could not be fetched; it decides whether another try or another source makes sense. */
export type ModelFetchErrorKind =
  | 'unknown_name'
  | 'offline'
  | 'unreachable'
  | 'not_found'
  | 'forbidden'
  | 'server'
  | 'corrupt'
  | 'disk'
  | 'no_python'

/** A model that could not be fetched. The message says what to do. */
export class ModelFetchError extends Error {
  override readonly name = 'ModelFetchError'
  readonly kind: ModelFetchErrorKind

  constructor(kind: ModelFetchErrorKind, message: string, options?: ErrorOptions) {
    super(message, options)
    this.kind = kind
  }
}

/** A file system's failure while a model is stored, in words; other errors pass through. */
export function storageFailure(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  const advice = 'Set HF_HOME or XDG_CACHE_HOME to a folder with room that this user may write'
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const message = `The disk is full at ${path}. ${advice}, or free some space.`
    return new ModelFetchError('disk', message, { cause: error })
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const message = `This user may not write ${path}. ${advice}.`
    return new ModelFetchError('disk', message, { cause: error })
  }
  if (code === 'ENOTDIR' || code === 'EEXIST') {
    const message = `${path} cannot be made: a file is in the way of a folder. ${advice}.`
    return new ModelFetchError('disk', message, { cause: error })
  }
  return error
}
