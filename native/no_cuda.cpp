// The CUDA backend of a build that has none.
#include "native/cuda.h"

namespace kvasir {

namespace {

const char* const kNotBuilt =
    "This build has no CUDA backend, because nvcc was not found when it was made. Install NVIDIA's "
    "CUDA toolkit 12.4 or newer and run \"npm run build\" again, or choose --device cpu.";

}  // namespace

CudaStatus cuda_status() { return {false, std::nullopt, std::nullopt, kNotBuilt, {}}; }

MemoryUse cuda_memory_needs(const ModelSpec&) { throw kernels::Error(kNotBuilt); }

std::unique_ptr<Model> load_cuda_model(const ModelSpec&, const OnProgress&) {
  throw kernels::Error(kNotBuilt);
}

}  // namespace kvasir
