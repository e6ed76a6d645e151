#include "kernels/add.h"

#include "kernels/plain_type.h"

namespace kernels {
namespace {

// Rows below this many elements are not worth waking a thread for.
constexpr int kElementsPerTask = 16384;

template <typename T>
void add_rows(const Add& op, int begin, int end) {
  for (int t = begin; t < end; ++t) {
    const T* a = static_cast<const T*>(op.a) + t * op.a_stride;
    const T* b = static_cast<const T*>(op.b) + t * op.b_stride;
    T* out = static_cast<T*>(op.out) + t * op.out_stride;
    for (int i = 0; i < op.hidden_size; ++i) {
      out[i] = from_float<T>(to_float(a[i]) + to_float(b[i]));
    }
  }
}

}  // namespace

void add_cpu(const Add& op, ThreadPool& pool) {
  with_plain_type(op.type, "add", [&](auto zero) {
    using T = decltype(zero);
    if (op.num_tokens <= 0 || op.hidden_size <= 0) return;
    const int grain = kElementsPerTask / op.hidden_size + 1;
    pool.parallel_for(op.num_tokens, grain,
                      [&](int begin, int end) { add_rows<T>(op, begin, end); });
  });
}

}  // namespace kernels
