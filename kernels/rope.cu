#include "kernels/cuda_plain.cuh"
#include "kernels/rope.h"

namespace kernels {
namespace {

constexpr int kMaxThreads = 128;
constexpr int kTokensPerThread = 4;  // so that the power in double is paid for once in four

// A thread turns pair j of every head, for several tokens. The power is taken in double and rounded
// once, the quotient is float's, sine and cosine are the accurate ones: see rope.h for why.
template <typename T>
__global__ void __launch_bounds__(kMaxThreads) rope_kernel(const __grid_constant__ Rope op) {
  wait_for_inputs();
  const int half = op.head_dim / 2;
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= half) return;
  const float divisor =
      static_cast<float>(pow(static_cast<double>(op.theta), 2.0 * j / op.head_dim));
  for (std::int64_t t = blockIdx.y; t < op.num_tokens; t += gridDim.y) {
    const float angle = __fdiv_rn(static_cast<float>(op.positions[t]), divisor);
    float sine, cosine;
    sincosf(angle, &sine, &cosine);
    const T* x = static_cast<const T*>(op.x) + t * op.x_stride + j;
    T* out = static_cast<T*>(op.out) + t * op.out_stride + j;
    for (int h = 0; h < op.num_heads; ++h, x += op.head_dim, out += op.head_dim) {
      const float a = as_float(x[0]);
      const float b = as_float(x[half]);
      out[0] = narrow<T>(a * cosine - b * sine);
      out[half] = narrow<T>(b * cosine + a * sine);
    }
  }
}

}  // namespace

void rope_cuda(const Rope& op, Stream stream) {
  check_rope_head_dim("rope", op.head_dim);
  with_device_type(op.type, "rope", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.num_heads <= 0) return;
    const int half = op.head_dim / 2;
    const int num_threads = std::min(kMaxThreads, (half + kWarpSize - 1) / kWarpSize * kWarpSize);
    const int num_rows = std::min((op.num_tokens - 1) / kTokensPerThread + 1, kMaxGridRows);
    launch(rope_kernel<T>, dim3((half - 1) / num_threads + 1, num_rows), num_threads, 0, stream,
           op);
  });
}

}  // namespace kernels
