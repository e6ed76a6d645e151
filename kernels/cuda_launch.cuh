// Launching kernels, and the two calls by which neighbours on a stream overlap.
//
// On Hopper and newer a kernel may start while the one before it still drains (programmatic
// dependent launch). Every kernel that is started through launch() therefore follows three rules:
//
//   1. Before wait_for_inputs() it touches nothing that another kernel writes: only weights.
//   2. Every block calls wait_for_inputs(), whether it has work or not. That call returns when the
//      kernel before has ended; because that one waited too, all earlier ones have ended as well.
//   3. let_next_start() comes after the inputs are staged where the next kernel copies ahead: its
//      copies would delay ours. Elsewhere any time will do: what the next one does early is rule 1.
//
// Elsewhere both calls are nothing and kernels run one after the other.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>

#include "kernels/cuda_stream.h"

namespace kernels {

[[noreturn]] void throw_cuda_error(const char* file, int line, const char* call, cudaError_t code);

// Throws CudaError unless the call of the CUDA runtime succeeds.
#define CUDA_CHECK(call)                                                    \
  do {                                                                      \
    const cudaError_t cuda_status_ = (call);                                \
    if (cuda_status_ != cudaSuccess) {                                      \
      ::kernels::throw_cuda_error(__FILE__, __LINE__, #call, cuda_status_); \
    }                                                                       \
  } while (false)

// What operators ask of the device they run on. Read once for each device.
struct DeviceTraits {
  int num_multiprocessors;
  int compute_capability;        // 89 for 8.9
  std::size_t max_shared_bytes;  // a block may opt in to
  bool has_early_launch;         // programmatic dependent launch: 9.0 and newer
};

// Of the calling thread's current device. Throws CudaError.
const DeviceTraits& device_traits();

// Lets `kernel` use `bytes` of dynamic shared memory. Cheap when it was called before with the same
// or more; throws CudaError if the device has less.
void allow_shared_bytes(const void* kernel, std::size_t bytes);

// Starts kernel<<<grid, block, shared_bytes, stream>>>(args...), overlapping with the kernel before
// it where the device can. Throws CudaError if the launch is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Stream stream, Arguments... arguments) {
  if (shared_bytes > 48 * 1024) {
    allow_shared_bytes(reinterpret_cast<const void*>(kernel), shared_bytes);
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = device_traits().has_early_launch ? 1 : 0;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...));
}

#ifdef __CUDACC__

__device__ __forceinline__ void wait_for_inputs() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#endif

}  // namespace kernels
