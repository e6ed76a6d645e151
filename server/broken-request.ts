import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { ApiError, toErrorResponse } from './errors.js'
import { newRequestId } from './headers.js'

/**
 * Answers bytes that never became a request: malformed HTTP, headers without end, a body that does
 * not arrive. Node hands over the bare socket.
 */
export function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  // On a connection that has carried an answer, ours might land in the middle of another one.
  if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
    socket.destroy()
    return
  }
  const requestId = newRequestId()
  const { status, body } = toErrorResponse(toApiError(error), { requestId })
  const text = JSON.stringify(body)
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'content-type: application/json; charset=utf-8',
      `content-length: ${Buffer.byteLength(text)}`,
      `x-request-id: ${requestId}`,
      'connection: close',
      '',
      text,
    ].join('\r\n'),
  )
}

function toApiError(error: NodeJS.ErrnoException): ApiError {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW':
      return new ApiError('headers_too_large', 'The headers are larger than 16 KiB.')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new ApiError('request_timeout', 'The request did not arrive in time.')
    default:
      return new ApiError('malformed_request', 'The request is not valid HTTP/1.1.')
  }
}
