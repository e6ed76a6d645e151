#include "kernels/cuda_plain.cuh"
#include "kernels/swiglu.h"

namespace kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(kElementThreads)
    swiglu_kernel(const __grid_constant__ SwiGlu op) {
  wait_for_inputs();
  const T* gates = static_cast<const T*>(op.gate);
  const T* ups = static_cast<const T*>(op.up);
  T* out = static_cast<T*>(op.out);
  for_each_element(op.num_tokens, op.intermediate_size, [&](std::int64_t t, unsigned i) {
    const float gate = as_float(gates[t * op.gate_stride + i]);
    const float up = as_float(ups[t * op.up_stride + i]);
    // The quotient first: up * gate could overflow where the result does not.
    out[t * op.out_stride + i] = narrow<T>(up * (gate / (1 + expf(-gate))));
  });
}

}  // namespace

void swiglu_cuda(const SwiGlu& op, Stream stream) {
  with_device_type(op.type, "swiglu", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.intermediate_size <= 0) return;
    launch(swiglu_kernel<T>, element_grid(op.num_tokens, op.intermediate_size), kElementThreads, 0,
           stream, op);
  });
}

}  // namespace kernels
