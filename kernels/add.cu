#include "kernels/add.h"
#include "kernels/cuda_plain.cuh"

namespace kernels {
namespace {

template <typename T>
__global__ void __launch_bounds__(kElementThreads) add_kernel(const __grid_constant__ Add op) {
  wait_for_inputs();
  const T* a = static_cast<const T*>(op.a);
  const T* b = static_cast<const T*>(op.b);
  T* out = static_cast<T*>(op.out);
  for_each_element(op.num_tokens, op.hidden_size, [&](std::int64_t t, unsigned i) {
    out[t * op.out_stride + i] =
        narrow<T>(as_float(a[t * op.a_stride + i]) + as_float(b[t * op.b_stride + i]));
  });
}

}  // namespace

void add_cuda(const Add& op, Stream stream) {
  with_device_type(op.type, "add", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.hidden_size <= 0) return;
    launch(add_kernel<T>, element_grid(op.num_tokens, op.hidden_size), kElementThreads, 0, stream,
           op);
  });
}

}  // namespace kernels
