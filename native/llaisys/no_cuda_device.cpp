// Stands in for cuda_device.cpp where the library was built without CUDA.
#include "native/llaisys/device.h"
#include "native/llaisys/guarded.h"

namespace llaisys {
namespace {

int get_device_count() { return 0; }

// Every other function of the table.
template <typename Result, typename... Arguments>
Result refuse(Arguments...) {
  return guarded("NVIDIA runtime", []() -> Result {
    CHECK(false,
          "this library was built without CUDA; install the CUDA toolkit and build it again");
  });
}

}  // namespace

const LlaisysRuntimeAPI& cuda_runtime() {
  static const LlaisysRuntimeAPI runtime = {get_device_count, refuse, refuse, refuse,
                                            refuse,           refuse, refuse, refuse,
                                            refuse,           refuse, refuse, refuse};
  return runtime;
}

std::unique_ptr<Operators> make_cuda_operators(int) { return refuse<std::unique_ptr<Operators>>(); }

}  // namespace llaisys
