#include "kernels/swiglu.h"

#include "kernels/plain_type.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

// Below this many elements a task is not worth waking a thread for.
constexpr int kElementsPerTask = 4096;

}  // namespace

void swiglu_cpu(const SwiGlu& op, ThreadPool& pool) {
  with_plain_type(op.type, "swiglu", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.intermediate_size <= 0) return;
    const VectorKernels& vector = vector_kernels(pool.isa());
    const int grain = kElementsPerTask / op.intermediate_size + 1;
    pool.parallel_for(op.num_tokens, grain, [&](int begin, int end) {
      for (int t = begin; t < end; ++t) {
        vector.swiglu_row(op.type, static_cast<T*>(op.out) + t * op.out_stride,
                          static_cast<const T*>(op.gate) + t * op.gate_stride,
                          static_cast<const T*>(op.up) + t * op.up_stride, op.intermediate_size);
      }
    });
  });
}

}  // namespace kernels
