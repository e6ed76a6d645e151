#include "native/model.h"

#include "native/cpu_model.h"
#include "native/cuda.h"

namespace kvasir {

std::unique_ptr<Model> load_model(const ModelSpec& spec, const OnProgress& on_progress) {
  check_model_spec(spec);
  if (spec.device == Device::kCuda) return load_cuda_model(spec, on_progress);
  return std::make_unique<CpuModel>(spec, on_progress);
}

}  // namespace kvasir
