// What host code needs to call the CUDA operators without a CUDA header: a stream, and the error
// that a failed call becomes.
#pragma once

#include <string>

#include "kernels/types.h"

struct CUstream_st;

namespace kernels {

// A cudaStream_t. Every CUDA operator enqueues its work there and returns at once.
using Stream = CUstream_st*;

// A call of the CUDA runtime that failed: names the call and CUDA's own code. Such an error is
// sticky: the process can do nothing more with the device.
class CudaError : public Error {
 public:
  CudaError(const std::string& message, int code) : Error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

}  // namespace kernels
