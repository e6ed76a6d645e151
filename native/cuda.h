// What the addon knows of CUDA, without a CUDA header. native/cuda/ defines it where nvcc was found
// at build time, native/no_cuda.cpp elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "native/model.h"

namespace kvasir {

struct CudaDevice {
  int index;
  std::string name;
  int compute_capability;  // 89 for 8.9
  std::uint64_t total_bytes;
  std::uint64_t free_bytes;
  int num_multiprocessors;
};

struct CudaStatus {
  bool is_built;                      // whether this build has the backend
  std::optional<int> driver_version;  // 13000 for 13.0; none: there is no driver
  std::optional<int> runtime_version;
  std::string fault;  // why no device can be used, as a sentence; empty if one can
  std::vector<CudaDevice> devices;
};

// Never throws for want of a driver or a device: that is what it tells.
CudaStatus cuda_status();

// Bytes on the device for everything but the KV cache (kv_cache is 0 and spec.limits.num_blocks is
// not read), as load_cuda_model() would take them. The spec must have passed check_model_spec().
MemoryUse cuda_memory_needs(const ModelSpec& spec);

// Throws kernels::Error that says what is missing or does not fit, or kernels::CudaError. The spec
// must have passed check_model_spec().
std::unique_ptr<Model> load_cuda_model(const ModelSpec& spec, const OnProgress& on_progress);

}  // namespace kvasir
