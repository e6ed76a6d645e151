#include "kernels/rms_norm.h"

#include "kernels/plain_type.h"
#include "kernels/vector_kernels.h"

namespace kernels {
namespace {

// Below this many elements a task is not worth waking a thread for.
constexpr int kElementsPerTask = 8192;

}  // namespace

void rms_norm_cpu(const RmsNorm& op, ThreadPool& pool) {
  with_plain_type(op.type, "rms_norm", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.hidden_size <= 0) return;
    const VectorKernels& vector = vector_kernels(pool.isa());
    const int grain = kElementsPerTask / (op.hidden_size * op.num_groups) + 1;
    pool.parallel_for(op.num_tokens, grain, [&](int begin, int end) {
      for (int t = begin; t < end; ++t) {
        const T* x = static_cast<const T*>(op.x) + t * op.x_stride;
        T* out = static_cast<T*>(op.out) + t * op.out_stride;
        for (int g = 0; g < op.num_groups; ++g, x += op.hidden_size, out += op.hidden_size) {
          vector.rms_norm_group(op.type, out, x, op.weight, op.hidden_size, op.epsilon);
        }
      }
    });
  });
}

}  // namespace kernels
